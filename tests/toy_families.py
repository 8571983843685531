"""Small networks of every family, and what tests do to them all."""

from fna_mm import Architecture

#: Name of a toy → its architecture. Output stride 8 or 16, at most four stages.
TOYS = dict(
    mobilenet_v2="""[[8, 4], ['k3_e1'], 1]|[[4, 6], ['k3_e6', 'k3_e6'], 2]|[[6, 8], ['k3_e6', 'k3_e6', 'k5_e6'], 2]""",
    efficientnet_lite0="""efficientnet_lite0: [[8, 4], ['k3_e1'], 1]|[[4, 6], ['k3_e6', 'k3_e6'], 2]|
        [[6, 8], ['k5_e6', 'k5_e6', 'k5_e6'], 2]""",
    basic="""resnet: [[16, 16], ['k3_basic32', 'k3_basic32'], 1]|
        [[16, 24], ['k3_basic48', 'k5_basic48', 'k3_basic48'], 2]""",
    bottleneck="""resnet: [[16, 24], ['k3_bottleneck32', 'k3_bottleneck32'], 1]|
        [[24, 32], ['k3_bottleneck48', 'k5_bottleneck48', 'k3_bottleneck48'], 2]""",
    caffe="""resnet_caffe: [[16, 24], ['k3_bottleneck32', 'k3_bottleneck32'], 1]|
        [[24, 32], ['k3_bottleneck48', 'k5_bottleneck48', 'k3_bottleneck48'], 2]""",
    deep_stem="""resnet_v1c: [[16, 16], ['k3_basic32', 'k3_basic32'], 1]|
        [[16, 24], ['k3_basic48', 'k3_basic48', 'k3_basic48'], 2]""",
)
#: Those that are ResNets.
RESIDUAL = ('basic', 'bottleneck', 'caffe', 'deep_stem')


def toy_of(name):
    """The architecture of a toy."""
    return Architecture.parse(TOYS[name])


def space_of(name):
    """Arguments of a search space around a toy."""
    ratios = (.5, 1) if name in RESIDUAL else (3, 6)
    architecture = toy_of(name)
    searched = [stage for stage in architecture.stages if any(spec.searchable for spec in stage.layers)]
    return dict(seed=TOYS[name], layers_per_stage=tuple(len(stage.layers) + 1 for stage in searched),
                kernel_sizes=(3, 5), expand_ratios=ratios)
