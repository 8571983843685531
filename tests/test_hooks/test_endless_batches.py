import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler, DataLoader

from fna_mm.hooks.endless_batches import EndlessBatches, SeededBatches


def dataloader(length=10, batch_sampler=False, **kwargs):
    sampler = DefaultSampler(list(range(length)), shuffle=True, seed=7)
    if batch_sampler:  # as mmdet's AspectRatioBatchSampler has it
        return DataLoader(list(range(length)), batch_sampler=BatchSampler(sampler, 4, False))
    return DataLoader(list(range(length)), batch_size=4, sampler=sampler, **kwargs)


def take(batches, number):
    return [next(batches).tolist() for _ in range(number)]


@pytest.mark.parametrize('batch_sampler', [False, True])
def test_every_pass_is_whole_and_shuffled_as_mms_loops_do(batch_sampler):
    batches = EndlessBatches(dataloader(batch_sampler=batch_sampler))
    passes = [take(batches, 3) for _ in range(3)]
    assert all(sorted(sum(one, [])) == list(range(10)) for one in passes)
    for epoch, one in enumerate(passes):
        sampler = DefaultSampler(list(range(10)), shuffle=True, seed=7)
        sampler.set_epoch(epoch)
        assert sum(one, []) == list(sampler)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize('batch_sampler', [False, True])
@pytest.mark.parametrize('taken', [0, 1, 2, 3, 4, 7, 9])
def test_goes_on_from_a_saved_place(taken, batch_sampler):
    whole = EndlessBatches(dataloader(batch_sampler=batch_sampler))
    take(whole, taken)
    state = whole.state_dict()
    assert state['epoch'] * 3 + state['batch'] == taken
    rest = take(whole, 7)
    resumed = EndlessBatches(dataloader(batch_sampler=batch_sampler))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert take(resumed, 7) == rest


def test_without_a_batch():
    with pytest.raises(ValueError, match="the architecture's dataloader has no batch: 3 samples for batch_size=4 with "
                                         'drop_last; use a smaller batch or more data'):
        EndlessBatches(dataloader(3, drop_last=True))


def test_a_seed_for_every_batch():
    calls = []
    batches = SeededBatches(iter('abc'), calls.append)
    assert [next(batches), list(calls), next(batches), list(calls)] == ['a', [0], 'b', [0, 1]]
    assert list(batches) == ['c']


@pytest.mark.parametrize(('taken', 'scale', 'place'), [
    (2, .5, (0, 1)), (1, 2., (0, 2)), (3, 2., (0, 3)), (4, 1., (1, 1))])
def test_goes_on_with_other_batches_in_a_pass(taken, scale, place):
    """As many samples on, but never beyond the pass."""
    batches = EndlessBatches(dataloader())
    take(batches, taken)
    other = EndlessBatches(dataloader())
    other.load_state_dict(batches.state_dict(), scale)
    assert (other.epoch, other.batch) == place


class CountedPasses(DataLoader):
    """Counts how often its workers were started."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


class StatefulBatches(BatchSampler):
    """Fails when a pass begins before the last one is through, in which mmdet's sampler by aspect ratio would err."""

    busy = False

    def __iter__(self):
        assert not self.busy
        self.busy = True
        yield from super().__iter__()
        self.busy = False


def counted(**kwargs):
    sampler = DefaultSampler(list(range(20)), shuffle=True, seed=7)
    return CountedPasses(list(range(20)), batch_sampler=StatefulBatches(sampler, 4, False), **kwargs)


@pytest.mark.parametrize('taken', [0, 3])
def test_workers_of_the_next_pass_start_before_its_first_batch(taken):
    expected = take(EndlessBatches(counted()), 12)
    loader = counted(num_workers=1, prefetch_factor=2)
    batches = EndlessBatches(loader)
    batches.load_state_dict(dict(epoch=0, batch=taken))
    started = []
    for index in range(taken, 12):
        batches.prefetch()
        started.append(loader.passes)
        assert next(batches).tolist() == expected[index]
        assert batches.state_dict()['epoch'] * 5 + batches.state_dict()['batch'] == index + 1
    # With 4 of 5 batches taken, the one worker has looked for two more and found one.
    assert started == [1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3][taken:]


@pytest.mark.parametrize('arguments', [{}, dict(num_workers=1, persistent_workers=True)])
def test_passes_that_cannot_overlap_do_not(arguments):
    expected = take(EndlessBatches(counted()), 6)
    loader = counted(**arguments)
    batches = EndlessBatches(loader)
    for index in range(6):
        batches.prefetch()
        assert loader.passes == (index > 0)
        assert next(batches).tolist() == expected[index]
    assert loader.passes == 2
