from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.transforms import v2

from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.imaging.geometry import project_to_image
from sightline.models import Model, state_hash, with_random_weights, wrap
from sightline.models.warnings import warn_about_models


def tiny(outputs: int = 2, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, outputs),
    )


def make(**options: object) -> Model:
    return wrap(tiny(), ["Edema", "Effusion"], **{"side": 32, **options})  # type: ignore[arg-type]


def test_wrap_leaves_the_network_as_it_was() -> None:
    net = tiny().train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    before = state_hash(net)
    wrap(net, ["Edema", "Effusion"], side=32)
    assert state_hash(net) == before
    assert net.training and not net[1].training
    assert not net[0].weight.requires_grad and net[0].bias.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_wrap_checks_the_output() -> None:
    with pytest.raises(SightlineError, match=r"returns \(2, 2\) for 2 images and 3 findings"):
        wrap(tiny(), ["Edema", "Effusion", "Nodule"], side=32)
    with pytest.raises(SightlineError, match="distinct"):
        wrap(tiny(), ["Effusion", "Pleural Effusion"], side=32)
    with pytest.raises(SightlineError, match=r"does not run on an input of \(2, 1, 32, 32\)"):
        wrap(tiny(), ["Edema", "Effusion"], side=32, channels=1)
    with pytest.raises(SightlineError, match="mean has 2 values for 3 channels"):
        make(mean=(0.1, 0.2))
    with pytest.raises(SightlineError, match=r"std=.*deviations above 0"):
        make(std=0)


def test_damaged_weights_are_named() -> None:
    net = tiny()
    with torch.no_grad():
        net[6].weight[0, 0] = torch.nan
        net[1].bias[2] = torch.inf
    with pytest.raises(SightlineError, match=r"gives NaN or infinity .* weights are damaged \(1\.bias and 1 more\)"):
        wrap(net, ["Edema", "Effusion"], side=32)


def test_prepare_equals_torchvision_resize_and_center_crop() -> None:
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.random((90, 120), np.float32), (0, 0), 4)
    image = cv2.resize(small, (480, 360), interpolation=cv2.INTER_LINEAR)  # smooth: any antialiasing agrees
    x, frame = make(side=96, mean=0, std=1).prepare(image)
    transform = v2.Compose([v2.Resize(96, antialias=True), v2.CenterCrop(96)])
    assert torch.allclose(x[:1], transform(torch.from_numpy(image)[None]), atol=0.01)
    assert frame.box == (0, 60, 360, 420)
    assert x.dtype == torch.float32 and x.shape == (3, 96, 96)


@settings(max_examples=40)
@given(
    st.integers(5, 90),
    st.integers(5, 90),
    st.sampled_from(["stretch", "center-crop", "pad"]),
    st.sampled_from([16, 32]),
)
def test_the_frame_says_where_the_input_lies(height: int, width: int, resize: str, side: int) -> None:
    """A ramp put through `prepare` and laid back by its frame is the ramp again, up to the resampling."""
    if resize != "stretch" and max(height, width) / min(height, width) > 4:
        return
    model = make(side=side, resize=resize, mean=0, std=1)
    for axis in (0, 1):
        ramp = np.zeros((height, width), np.float32)
        ramp += np.moveaxis(np.linspace(0.2, 0.8, ramp.shape[axis], dtype=np.float32)[:, None], 0, axis)
        x, frame = model.prepare(ramp)
        placed, window = project_to_image(x[0].numpy(), frame)
        step = max(ramp.shape[axis] / side, 1) * 0.6 / max(ramp.shape[axis] - 1, 1)
        inner = (slice(None), slice(None)) if resize != "pad" else np.s_[2:-2, 2:-2]  # padding bleeds in at its border
        size = min(height, width)
        margin = int(np.ceil(max(height, width) / side)) + 1 if resize == "pad" else 0
        inner = np.s_[margin : size - margin, margin : size - margin] if margin else inner
        assert np.abs(placed - ramp[window])[inner].max(initial=0) <= 1.6 * step + 1e-4


def test_padding_is_black_and_the_prepared_zero_image_is_uniform() -> None:
    model = make(resize="pad", mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    x, _ = model.prepare(np.ones((20, 40), np.float32))
    assert torch.allclose(x[:, 0, :], torch.tensor([[-0.2], [-0.4], [-0.6]]).expand(3, 32))
    assert torch.allclose(x[0, 16, :], torch.tensor(1.8))


def test_prepare_refuses_what_is_no_image() -> None:
    model = make()
    for bad in (np.zeros((3, 4, 4)), np.zeros((0, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(DataError, match="image"):
            model.prepare(bad)


def test_index_knows_aliases_and_refuses_the_rest() -> None:
    model = make()
    assert (model.index("Effusion"), model.index("edema"), model.index(1)) == (1, 0, 1)
    for bad in ("Nodule", 2, -1, True):
        with pytest.raises(UnknownNameError, match="it has Edema, Pleural Effusion"):
            model.index(bad)


def test_untrained_is_random_keyed_and_leaves_the_original() -> None:
    model = make()
    before = state_hash(model.net)
    copy = with_random_weights(model, 3)
    assert state_hash(model.net) == before != state_hash(copy.net)
    assert (
        state_hash(with_random_weights(model, 3).net)
        == state_hash(copy.net)
        != state_hash(with_random_weights(model, 4).net)
    )
    assert (copy.name, copy.training_record, copy.findings) == ("untrained", None, model.findings)
    state = torch.random.get_rng_state()
    with_random_weights(model)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_untrained_redraws_parameters_no_module_resets() -> None:
    class Prompted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt, self.net = nn.Parameter(torch.arange(32.0)), tiny()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x + self.prompt / 1000)

    model = wrap(Prompted(), ["Edema", "Effusion"], side=32)
    assert float((with_random_weights(model).net.prompt - model.net.prompt).detach().abs().min()) > 1e-4


def test_state_hash_sees_every_bit_and_buffers() -> None:
    net = tiny()
    before = state_hash(net)
    with torch.no_grad():
        net[1].running_mean[3] += 1e-7
    assert state_hash(net) != before


@pytest.mark.parametrize("word", ["center_crop", "letterbox", "Pad", "", "crop"])
def test_only_the_ways_to_fit_an_image_that_exist_are_accepted(word: str) -> None:
    with pytest.raises(SightlineError, match=f"resize='{word}'; allowed: stretch, center-crop, pad"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, word, channels=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mean", "std"), [(123.7, 58.4), (0.5, 58.4), (2048, 1), (-5, 1)])
def test_a_normalization_of_other_pixels_is_refused(mean: float, std: float) -> None:
    with pytest.raises(SightlineError, match=r"cannot be of images in \[0, 1\].* divide them by 255"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, channels=1, mean=mean, std=std)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (0, 1 / 255), (0.5, 1 / 2048)])
def test_normalizations_to_any_range_are_accepted(mean: float, std: float) -> None:
    wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, channels=1, mean=mean, std=std)


def test_what_is_assumed_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    model = wrap(net, ["Edema"], 4, channels=1, mean=0.5, name="mine")
    assert model.assumed_settings == ("resize", "std")
    assert [record.getMessage() for record in caplog.records] == [
        "mine was wrapped without all of its settings. Stated by you: side=4; mean=0.5. Assumed: resize=center-crop; "
        "std=0.25. If it was trained otherwise, state it (side=, resize=, mean=, std=)"
    ]
    caplog.clear()
    assert model.assumption in warn_about_models([model])
    assert not any("Assumed" in record.getMessage() for record in caplog.records)
    assert not wrap(net, ["Edema"], 4, "pad", channels=1, mean=0.5, std=0.25).assumption
    assert len(caplog.records) == 1
