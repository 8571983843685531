"""Checkpoints as the authors' release names them, made from our networks by its naming rules."""

from collections import OrderedDict

import torch
from torch import nn

CONV_BN = ('conv', 'bn')
PARTS = ('expand_conv', 'depthwise_conv', 'linear_conv')

#: The four ways in which the backbone's keys may stand in a file.
FORMS = {
    'bare': lambda state: prefixed(state, ''),
    'backbone': lambda state: prefixed(state, 'backbone.'),
    'module': lambda state: prefixed(state, 'module.backbone.'),
    'mmdet': lambda state: dict(
        meta=dict(epoch=12, iter=87960, mmdet_version='0.6.0', time='Thu', config="model = dict(type='RetinaNet')",
                  CLASSES=('person', 'bicycle')),
        state_dict=prefixed(state, 'module.backbone.'), optimizer=dict(state={}, param_groups=[dict(lr=.05)])),
    'torchseg': lambda state: dict(model=prefixed(state, 'backbone.'), optimizer=dict(state={}), epoch=99,
                                   iteration=999),
}


def prefixed(state, prefix):
    return OrderedDict((prefix + key, value) for key, value in state.items())


def release_backbone(state):
    """A child's state dict, bare, with the release's keys."""
    stages = {key.split('.')[0] for key in state if key.startswith('layer')}
    result = OrderedDict()
    for key, value in state.items():
        words = key.split('.')
        if words[0] == 'conv1':
            name = f'blocks.0.{CONV_BN.index(words[1])}.{words[2]}'
        elif words[0] == 'conv2':
            name = f'blocks.{len(stages) + 1}.conv.{CONV_BN.index(words[1])}.{words[2]}'
        else:
            stage, layer, part, kind, tensor = words
            place = PARTS.index(part) - (f'{stage}.{layer}.expand_conv.conv.weight' not in state)
            name = f'blocks.{stage[5:]}.layers.{layer}.op.{3 * place + CONV_BN.index(kind)}.{tensor}'
        result[name] = value
    return result


def conv_bn(in_channels, out_channels, kernel_size=1, stride=1, groups=1, act=nn.ReLU6, eps=1e-3):
    layers = [nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
              nn.BatchNorm2d(out_channels, eps=eps)]
    return [*layers, act()] if act else layers


def separable(in_channels, out_channels, stride=1, act=nn.ReLU6):
    """Depthwise at 0 and 1, pointwise at 3 and 4."""
    return nn.Sequential(*conv_bn(in_channels, in_channels, 3, stride, in_channels),
                         *conv_bn(in_channels, out_channels, act=act))


class ReleasedSSDLite(nn.Module):
    """What stands behind the backbone, under the release's names: maps of 576 and 1280 → scores and boxes."""

    def __init__(self, anchors=(4, 6, 6, 6, 4, 4), classes=81):
        super().__init__()
        self.backbone = nn.Module()
        channels = (576, 1280, 512, 256, 256, 128)
        extra = []
        for before, after in zip(channels[1:], channels[2:]):
            extra += [nn.Sequential(*conv_bn(before, after // 2)), separable(after // 2, after, stride=2)]
        self.backbone.extra = nn.Sequential(*extra)
        self.bbox_head = nn.Module()
        for name, outputs in (('reg_convs', 4), ('cls_convs', classes)):
            setattr(self.bbox_head, name, nn.ModuleList(
                separable(width, number * outputs, act=None) for width, number in zip(channels, anchors)))

    def forward(self, maps):
        maps = list(maps)
        x = maps[-1]
        for index, layer in enumerate(self.backbone.extra):
            x = layer(x)
            if index % 2:
                maps.append(x)
        return ([head(x) for head, x in zip(self.bbox_head.cls_convs, maps)],
                [head(x) for head, x in zip(self.bbox_head.reg_convs, maps)])


class _SeparableAtrous(nn.Module):

    def __init__(self, in_channels, out_channels, rate):
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, 1, rate, rate, in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.bn2(self.pointwise(self.bn1(self.depthwise(x)).relu())).relu()


class ReleasedDeepLabv3(nn.Module):
    """The head under the release's names: the last map → scores."""

    def __init__(self, in_channels=320, channels=256, classes=19):
        super().__init__()
        head = self.head = nn.Module()
        head.branch1 = nn.Sequential(*conv_bn(in_channels, channels, act=nn.ReLU, eps=1e-5))
        for index, rate in enumerate((6, 12, 18), 2):
            setattr(head, f'branch{index}', nn.Sequential(_SeparableAtrous(in_channels, channels, rate)))
        head.branch5_conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        head.branch5_bn = nn.BatchNorm2d(channels)
        head.conv_cat = nn.Sequential(*conv_bn(5 * channels, channels, act=nn.ReLU, eps=1e-5))
        self.cls_conv = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        head = self.head
        pooled = head.branch5_bn(head.branch5_conv(x.mean((2, 3), keepdim=True))).relu().expand(-1, -1, *x.shape[2:])
        branches = [head.branch1(x), head.branch2(x), head.branch3(x), head.branch4(x), pooled]
        return self.cls_conv(head.conv_cat(torch.cat(branches, 1)))
