"""Small backbones of timm, one a family, that the tests go through."""

FAMILIES = [
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_nfnet",
    "test_mambaout",
]
