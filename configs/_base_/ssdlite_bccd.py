# SSDLite for BCCD: platelets of 19 pixels, red cells of 51 and white cells of 94 at 240x320.
_base_ = './ssdlite_fna.py'

input_shape = (240, 320)

model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(
            min_sizes=[22, 50, 100, 150, 200, 230], max_sizes=[100, 150, 200, 230, 260, 290])))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=35, norm_type=2))
