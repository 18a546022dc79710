import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import transforms

from src.data.images import Images
from src.errors import UserError
from src.schedules import GrowBatch, Schedule
from src.training.datamodule import DataModule, Split, epoch_seed, held_out, mean_and_std, minibatches
from tests.helpers.images import bars

SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS, st.integers(0, 1000), st.integers(1, 400), st.integers(1, 700))
def test_minibatches_split_a_permutation_by_seed_and_epoch(seed: int, epoch: int, batch_size: int, n: int) -> None:
    batches = minibatches(seed, epoch, batch_size, n)
    order = torch.cat(batches)
    assert sorted(order.tolist()) == list(range(n))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-n // batch_size)
    torch.manual_seed(1)  # torch's generator does not matter
    assert torch.equal(order, torch.cat(minibatches(seed, epoch, 1, n)))


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {tuple(minibatches(seed, epoch, 100, 100)[0].tolist()) for seed in range(6) for epoch in range(6)}
    seeds = {epoch_seed(seed, epoch) for seed in range(6) for epoch in range(6)}
    assert len(orders) == len(seeds) == 36


@given(SEEDS, st.integers(2, 500), st.data())
def test_held_out_images_are_never_trained_on(seed: int, n: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, n - 1))
    trained_on, validated_on = held_out(seed, n, size)
    assert len(validated_on) == size
    assert sorted([*trained_on.tolist(), *validated_on.tolist()]) == list(range(n))


def test_holding_out_everything_is_an_error() -> None:
    with pytest.raises(UserError, match=r"data\.validation=5: must be fewer than the 5 training images"):
        Images(*bars(5, 1), *bars(5, 2)).check_sizes(validation=5, batch_size=1)


def module(
    validation: int = 0, schedule: Schedule | None = None, batch_size: int = 64, normalize: str = "half"
) -> DataModule:
    images = Images(*bars(300, 1), *bars(80, 2))
    data = DataModule(images, schedule or Schedule(4), batch_size, 3, validation, normalize)
    return data.to(torch.device("cpu"))


@pytest.mark.parametrize("normalize", ["half", "standard", "center", "none"])
def test_blocks_are_normalised_as_by_torchvision(normalize: str) -> None:
    raw, raw_labels = bars(300, 1)
    pixels = raw / 255
    mean, std = {
        "half": (0.5, 0.5),
        "standard": (pixels.mean(), pixels.std()),
        "center": (pixels.mean(), 1.0),
        "none": (0.0, 1.0),
    }[normalize]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])
    split = module(normalize=normalize).splits["train"]
    order = minibatches(0, 0, 64, 300)
    served = [minibatch for block in split.loader(order) for minibatch in block]
    index = torch.cat(order).numpy()
    expected = torch.stack([transform(raw[i][:, :, None]) for i in index])
    torch.testing.assert_close(torch.cat([images for images, _ in served]), expected, rtol=1e-6, atol=1e-6)
    assert torch.cat([labels for _, labels in served]).tolist() == raw_labels[index].tolist()
    assert [len(labels) for _, labels in served] == [64, 64, 64, 64, 44]


def test_constant_images_are_not_divided_by_zero() -> None:
    for value in range(256):
        mean, std = mean_and_std("standard", torch.full((5, 1, 28, 28), value, dtype=torch.uint8))
        assert mean == pytest.approx([value / 255])
        assert std == [1.0]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 299, 5000])
def test_blocks_do_not_change_the_minibatches(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.training.datamodule.BLOCK", 100)
    images, labels = (torch.from_numpy(array) for array in bars(300, 1))
    split = Split(images[:, None], labels, [0.0], [1.0])
    order = minibatches(5, 2, batch_size, 300)
    served = [labels for block in split.loader(order) for _, labels in block]
    assert [len(labels) for labels in served] == [len(batch) for batch in order]
    assert torch.equal(torch.cat(served), split.labels[torch.cat(order)])


def test_each_split_is_evaluated_once_and_in_order() -> None:
    data = module(validation=50)
    assert data.eval_splits == ["test", "validation"]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 250, "validation": 50, "test": 80}
    test, _ = data.val_dataloader()
    assert torch.cat([labels for block in test for _, labels in block]).tolist() == bars(80, 2)[1].tolist()


def test_held_out_images_do_not_affect_the_normalisation() -> None:
    assert module(normalize="center").mean == pytest.approx([bars(300, 1)[0].mean() / 255], rel=1e-12)
    trained_on = held_out(3, 300, 50)[0].numpy()
    assert module(50, normalize="standard").mean == pytest.approx([bars(300, 1)[0][trained_on].mean() / 255], rel=1e-12)


def test_a_growing_batch_stops_at_the_training_set() -> None:
    data = module(schedule=GrowBatch(9, milestones=[2, 4], factor=3))
    assert [data.batch_size_in(epoch) for epoch in (0, 1, 2, 3, 4, 8)] == [64, 64, 192, 192, 300, 300]
