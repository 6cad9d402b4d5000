"""What the identity of features says: encoder, pooling and size of the images."""

import pytest

from networks.names import max_side_of, pooling_of, short_identity, with_max_side

ENCODER = "a" * 64


@pytest.mark.parametrize(
    "identity, pooling, max_side, short",
    [
        (ENCODER, "layer4_mean", None, "a" * 12),
        (f"{ENCODER}@512", "layer4_mean", 512, "a" * 12 + "@512"),
        (f"{ENCODER}:stages_mean_std", "stages_mean_std", None, "a" * 12 + ":stages_mean_std"),
        (f"{ENCODER}:stages_mean_std@768", "stages_mean_std", 768, "a" * 12 + ":stages_mean_std@768"),
    ],
)
def test_an_identity_has_three_parts(identity, pooling, max_side, short):
    assert (pooling_of(identity), max_side_of(identity), short_identity(identity)) == (pooling, max_side, short)
    assert with_max_side(identity, max_side) == identity
    assert max_side_of(with_max_side(identity, 0)) is None and pooling_of(with_max_side(identity, 9)) == pooling


def test_features_without_an_identity():
    assert (pooling_of(None), max_side_of(None)) == ("layer4_mean", None)
