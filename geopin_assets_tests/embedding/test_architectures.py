"""The table of what is published."""

import pytest

from geopin_assets.embedding.architectures import BACKBONES, PUBLISHED, Architecture
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings


def published() -> list[Architecture]:
    return [
        Architecture(method, backbone, dim)
        for method, backbones in PUBLISHED.items()
        for backbone, dims in backbones.items()
        for dim in dims
    ]


def test_as_many_checkpoints_are_known_as_are_published() -> None:
    assert {method: sum(map(len, backbones.values())) for method, backbones in PUBLISHED.items()} == {
        "cosplace": 30,
        "eigenplaces": 13,
    }
    assert {model.backbone for model in published()} == set(BACKBONES)


def test_every_published_model_is_found_by_its_name() -> None:
    for model in published():
        assert Architecture.parse(str(model)) == model


def test_the_default_is_the_recommended_one() -> None:
    assert Architecture.parse(Settings().model) == Architecture("cosplace", "ResNet50", 512)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ResNet50",
        "cosplace/ResNet50",
        "cosplace/ResNet50/100",
        "cosplace/ResNet50/0512",
        "cosplace/ResNet50/512/1",
        "cosplace/resnet50/512",
        "cosplace/ResNet34/512",
        "cosplace/VGG16/1024",
        "eigenplaces/ResNet152/512",
        "megaloc/ResNet50/512",
    ],
)
def test_what_is_not_published_is_refused_with_a_list_of_what_is(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_MODEL=.* is not published") as refused:
        Architecture.parse(name)
    assert "cosplace/VGG16/64|128|256|512, " in str(refused.value)
    assert "eigenplaces/ResNet50/128|256|512|1024|2048" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (
            "cosplace/ResNet50/512",
            "https://github.com/gmberton/CosPlace/releases/download/v1.0/ResNet50_512_cosplace.pth",
        ),
        (
            "eigenplaces/VGG16/512",
            "https://github.com/gmberton/EigenPlaces/releases/download/v1.0/VGG16_512_eigenplaces.pth",
        ),
    ],
)
def test_addresses_are_the_published_ones(name: str, address: str) -> None:
    assert Architecture.parse(name).address == address


def test_no_two_models_share_an_address_or_an_id() -> None:
    assert len({model.address for model in published()}) == len(published())
    assert len({model.model("0" * 64).model_id for model in published()}) == len(published())


def test_an_id_names_model_weights_and_preprocessing() -> None:
    model = Architecture("eigenplaces", "ResNet101", 2048).model("1a2b3c4d5e6f")
    assert model.model_id == "eigenplaces-resnet101-2048-1a2b3c4d-p2"
    assert model.dim == 2048 and model.is_place_recognition and model.label == model.model_id
