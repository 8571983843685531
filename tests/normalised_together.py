"""A process of two that normalise together; a module of its own, so that a new process can import it."""

import torch


def results(mixture, x, weights, grad, parameters=()):
    """The mixture of x, and its gradients in x, the weights and the parameters."""
    out = mixture(x, weights)
    return [out.detach(), *torch.autograd.grad(out, (x, weights, *parameters), grad)]


def normalise_together(rank, init_file, cases, queue):
    """Put (rank, results of every case) into the queue.

    Args:
        rank (int): 0 has the first image of a batch, 1 all others.
        init_file (Path): Where the two find each other.
        cases (list): Of (MixedOp, x, weights, gradient of the result).
        queue (Queue): Read by the parent.
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{init_file}', rank=rank, world_size=2)
    found = []
    for net, x, weights, grad in cases:
        x, grad = (tensor[:1] if rank == 0 else tensor[1:] for tensor in (x, grad))
        found.append([tensor.numpy() for tensor in results(
            net.forward_mixture, x.clone().requires_grad_(), weights.clone().requires_grad_(), grad)])
    queue.put((rank, found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
