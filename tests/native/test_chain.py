"""Training and evaluation in one native call, compared with autograd and torch's optimizers."""

import copy
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from src.models import MLP, LeNet
from src.native.build import backend, without_native_code
from src.native.chain import Chain, chain_of
from src.native.gather import Pixels
from src.native.threads import THREADS
from src.native.update import native_update
from src.schedules import Schedule
from src.training.classifier import Classifier
from src.training.datamodule import Split

RATES = st.floats(1e-4, 0.1)
DECAYS = st.sampled_from([0.0, 0.01])
MOMENTA = st.floats(0.1, 0.95)
SHAPES = {"lenet": (1, 28, 28), "lenet of colours": (3, 13, 16), "mlp": (1, 20, 24), "one layer": (2, 5, 5)}
NETWORKS: dict[str, Callable[[tuple[int, int, int]], nn.Module]] = {
    "lenet": lambda shape: LeNet(image_shape=shape, classes=7),
    "lenet of colours": lambda shape: LeNet(image_shape=shape, classes=7),
    "mlp": lambda shape: MLP([33, 18], image_shape=shape, classes=7),
    "one layer": lambda shape: MLP([], image_shape=shape, classes=7),
}


@pytest.fixture(autouse=True)
def native_code() -> None:
    if not backend().startswith("native"):
        pytest.fail(f"the native code is unavailable: {backend()}")
    torch.set_num_threads(1)


def data_of(shape: tuple[int, ...], n: int = 90) -> Pixels:
    """Return random bytes (N, C, H, W), labels (N,) and mean and std of each channel (C, 1, 1)."""
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    return Pixels(images, torch.randint(0, 7, (n,)), *torch.rand(2, shape[0], 1, 1).add(0.1))


def pixels(data: Pixels, indices: Tensor) -> Tensor:
    return (data.images[indices] / 255 - data.mean) / data.std


def native(model: nn.Module, data: Pixels) -> Chain:
    chain = chain_of(model, data)
    assert chain
    return chain


def first_update(optimizer: Optimizer, chain: Chain, data: Pixels, minibatch: Tensor) -> None:
    """Let torch update, which creates the optimizer's state."""
    chain.train(data, [minibatch])
    optimizer.step(lambda: 0.0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [1, 16, 37])
def test_gradients_and_loss_are_those_of_torch_in_float64(network: str, size: int) -> None:
    torch.manual_seed(size)
    data = data_of(SHAPES[network])
    model = NETWORKS[network](SHAPES[network])
    indices = torch.randperm(90)[:size]
    losses, correct = native(model, data).train(data, [indices])
    exact = copy.deepcopy(model).double()
    with without_native_code():
        logits = exact(pixels(data, indices).double())
    loss = cross_entropy(logits, data.labels[indices])
    loss.backward()
    assert losses.dtype == torch.float32
    assert losses.tolist() == [pytest.approx(loss.item(), rel=1e-5)]
    assert correct == (logits.argmax(1) == data.labels[indices]).sum()
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert (ours.grad - theirs.grad).norm() < 2e-5 * theirs.grad.norm()


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_are_those_of_torch_in_float64(network: str) -> None:
    torch.manual_seed(0)
    data = data_of(SHAPES[network])
    model = NETWORKS[network](SHAPES[network])
    order = torch.arange(90).split(40)
    logits = native(model, data).logits(data, order)
    with without_native_code(), torch.no_grad():
        exact = copy.deepcopy(model).double()(pixels(data, torch.arange(90)).double())
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def optimizers() -> st.SearchStrategy[tuple[type[Optimizer], dict[str, Any]]]:
    def of(cls: type[Optimizer], **options: Any) -> st.SearchStrategy[tuple[type[Optimizer], dict[str, Any]]]:
        return st.tuples(st.just(cls), st.fixed_dictionaries({"lr": RATES, "weight_decay": DECAYS, **options}))

    betas = st.tuples(MOMENTA, st.floats(0.8, 0.9999))
    eps = st.sampled_from([1e-8, 1e-3])
    return st.one_of(
        of(SGD),
        of(SGD, momentum=MOMENTA, dampening=st.sampled_from([0.0, 0.3])),
        of(SGD, momentum=MOMENTA, nesterov=st.just(True)),
        of(Adagrad, lr_decay=st.sampled_from([0.0, 0.1]), eps=eps),
        of(RMSprop, alpha=MOMENTA, eps=eps),
        of(Adam, betas=betas, eps=eps),
        of(AdamW, betas=betas, eps=eps),
    )


@settings(deadline=None, max_examples=60)
@given(optimizers(), st.booleans(), st.integers(0, 99))
def test_updates_and_states_are_those_of_torchs_optimizers(
    chosen: tuple[type[Any], dict[str, Any]], fused: bool, seed: int
) -> None:
    """Torch's optimizer gets the same gradients in float64, so that differences are those of the update alone."""
    torch.manual_seed(seed)
    data = data_of((1, 6, 6), n=40)
    model = MLP([9], image_shape=(1, 6, 6), classes=7)
    cls, options = chosen
    ours = cls(model.parameters(), **options, **({"fused": True} if fused and cls is not RMSprop else {}))
    chain, order = native(model, data), torch.randperm(40).split(8)
    first_update(ours, chain, data, order[0])
    exact = [nn.Parameter(parameter.detach().double()) for parameter in model.parameters()]
    theirs = cls(exact, **options)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    theirs.param_groups[0]["fused"] = None
    for minibatch in order[1:]:
        update = native_update(ours, chain.parameters)
        assert update
        for parameter, of_exact in zip(model.parameters(), exact, strict=True):
            of_exact.data.copy_(parameter)  # else their rounding would add up
        before = [of_exact.detach().clone() for of_exact in exact]
        chain.train(data, [minibatch], update)
        for parameter, of_exact in zip(model.parameters(), exact, strict=True):
            assert parameter.grad is not None
            of_exact.grad = parameter.grad.double()
        theirs.step()
        for parameter, of_exact, old in zip(model.parameters(), exact, before, strict=True):
            step = (of_exact - old).abs().max()
            assert (parameter - of_exact).abs().max() <= 1e-4 * step + 2e-7 * old.abs().max()
    for one, other in zip(ours.state.values(), theirs.state.values(), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.allclose(one[key].double(), other[key].double(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("cls", [SGD, Adagrad, Adam])
def test_a_block_is_the_same_as_its_minibatches_one_by_one(cls: type[Any]) -> None:
    torch.manual_seed(0)
    data = data_of((1, 28, 28))
    order = torch.randperm(90).split(20)  # the last has 10
    results = []
    for at_once in (5, 1):
        torch.manual_seed(1)
        model = LeNet(classes=7)
        optimizer = cls(model.parameters(), lr=0.01)
        chain = native(model, data)
        first_update(optimizer, chain, data, order[0])
        losses = [
            chain.train(data, order[start : start + at_once], native_update(optimizer, chain.parameters))[0]
            for start in range(1, 5, at_once)
        ]
        results.append([torch.cat(losses), *model.parameters(), *optimizer.state_dict()["state"].get(0, {}).values()])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other


def test_a_loss_that_is_not_a_number_stays_one() -> None:
    data = data_of((1, 5, 5))
    model = MLP([], image_shape=(1, 5, 5), classes=7)
    with torch.no_grad():
        model.native_chain()[0].bias[3] = float("nan")
    losses, correct = native(model, data).train(data, [torch.arange(90)])
    assert losses.isnan().all()
    assert correct == (data.labels == 3).sum()  # torch's argmax takes not-a-number for the largest
    (gradient, _) = (parameter.grad for parameter in model.parameters())
    assert gradient is not None
    assert gradient.isnan().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_spread_as_in_torch(value: float) -> None:
    torch.manual_seed(0)
    data = data_of((1, 5, 5))
    model = MLP([9, 8], image_shape=(1, 5, 5), classes=7)
    with torch.no_grad():
        model.get_parameter("linear2.weight")[3, 2] = value
    chain, some = native(model, data), torch.arange(33)
    losses, _ = chain.train(data, [some])
    ours = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    logits = model(pixels(data, some))
    torch.testing.assert_close(chain.logits(data, [some]), logits, equal_nan=True)
    # The unit before is 0 for some images, and 0 x infinity is not a number; of others, ReLU makes -infinity 0.
    assert logits.isnan().any(1).unique().tolist() == ([True] if math.isnan(value) else [False, True])
    loss = cross_entropy(logits, data.labels[:33])
    loss.backward()
    assert losses.isnan() == loss.isnan()
    for one, parameter in zip(ours, model.parameters(), strict=True):
        assert one is not None
        torch.testing.assert_close(one, parameter.grad, equal_nan=True)


class OwnForward(MLP):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 2


def hooked(model: nn.Module, register: str = "register_forward_hook") -> nn.Module:
    getattr(model, register)(lambda *_: None)
    return model


def hooked_inside(hook: str) -> nn.Module:
    model = MLP([5])
    hooked(model.native_chain()[0], hook)
    return model


def hooked_at(hook: str) -> nn.Module:
    model = MLP([5])
    getattr(model.native_chain()[0].weight, hook)(lambda _: None)
    return model


def with_own_method() -> nn.Module:
    model = MLP([5])
    model.native_chain()[1].forward = torch.relu  # type: ignore[method-assign]
    return model


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Scaling(MLP):
    def __init__(self) -> None:
        super().__init__([5])
        self.linear2 = Scaled(5, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear2(torch.relu(self.linear1(images.flatten(1))))  # type: ignore[operator]

    def native_chain(self) -> list[nn.Linear]:
        return super().native_chain()


def strided() -> nn.Module:
    model = LeNet()
    model.conv1.stride = (2, 2)
    return model


def frozen(model: MLP) -> nn.Module:
    model.native_chain()[0].bias.requires_grad_(False)
    return model


class Shared(MLP):
    def __init__(self) -> None:
        super().__init__([10, 10])

    def native_chain(self) -> list[nn.Linear]:
        first, second, _ = super().native_chain()
        return [first, second, second]

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)


def weight_norm(model: MLP) -> nn.Module:
    nn.utils.parametrizations.weight_norm(model.native_chain()[0])
    return model


LEFT: dict[str, Callable[[], nn.Module]] = {
    "own forward": lambda: OwnForward([5]),
    "own layer": Scaling,
    "forward of an object": with_own_method,
    "hook of the network": lambda: hooked(MLP([5])),
    **{
        hook: lambda hook=hook: hooked_inside(hook)  # type: ignore[misc]
        for hook in ("register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook")
    },
    "register_hook": lambda: hooked_at("register_hook"),
    "register_post_accumulate_grad_hook": lambda: hooked_at("register_post_accumulate_grad_hook"),
    "frozen": lambda: frozen(MLP([5])),
    "weight norm": lambda: weight_norm(MLP([5])),
    "shared": Shared,
    "float64": lambda: MLP([5]).double(),
    "fewer classes": lambda: MLP([5], classes=6),
    "tanh": lambda: LeNet(activation="tanh"),
    "average": lambda: LeNet(pooling="average"),
    "stride": strided,
    "no chain": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
}


@pytest.mark.parametrize("model", LEFT.values(), ids=LEFT)
def test_other_networks_are_left_to_autograd(model: Callable[[], nn.Module]) -> None:
    assert chain_of(model(), data_of((1, 28, 28))) is None


def transformed(function: Callable[[], object]) -> None:
    torch.func.vmap(lambda _: (function(), torch.ones(1))[1])(torch.ones(1))


def without_native(function: Callable[[], object]) -> None:
    with without_native_code():
        function()


def in_autocast(function: Callable[[], object]) -> None:
    with torch.autocast("cpu"):
        function()


def in_two_threads(function: Callable[[], object]) -> None:
    torch.set_num_threads(2)
    function()


def with_a_global_hook(function: Callable[[], object]) -> None:
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        function()
    finally:
        hook.remove()


@pytest.mark.parametrize("state", [transformed, without_native, in_autocast, in_two_threads, with_a_global_hook])
def test_nothing_is_native_that_a_process_s_state_forbids(state: Callable[[Callable[[], object]], None]) -> None:
    found: list[object] = []
    model, data = MLP([5]), data_of((1, 28, 28))
    state(lambda: found.append(chain_of(model, data)))
    assert found == [None]
    assert chain_of(model, data) is None if state is in_two_threads else native(model, data)


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: NAdam(parameters),
        lambda parameters: LBFGS(parameters),
        lambda parameters: Adam(parameters, amsgrad=True),
        lambda parameters: Adam(parameters, maximize=True),
        lambda parameters: Adam(parameters, lr=torch.tensor(0.1)),
        lambda parameters: RMSprop(parameters, momentum=0.9),
        lambda parameters: RMSprop(parameters, centered=True),
        lambda parameters: SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.1}]),
        lambda parameters: SGD(parameters[:1]),
    ],
    ids=["NAdam", "LBFGS", "amsgrad", "maximize", "tensor lr", "momentum", "centered", "two groups", "one parameter"],
)
def test_other_optimizers_make_their_own_updates(make: Callable[[list[nn.Parameter]], Optimizer]) -> None:
    data = data_of((1, 28, 28))
    model = MLP([5], classes=7)
    optimizer, chain = make(list(model.parameters())), native(model, data)
    first_update(optimizer, chain, data, torch.arange(20))
    assert native_update(optimizer, chain.parameters) is None


class Transposing(Optimizer):
    """Replaces what the weights hold by memory of another layout, as optimizers that work on matrices may."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            parameter.data = (parameter.data - 0.1 * parameter.grad).t().contiguous().t()


def test_an_optimizer_may_replace_what_parameters_hold() -> None:
    results = []
    for context in (nullcontext, without_native_code):
        torch.manual_seed(0)
        split = Split(*data_of((1, 28, 28))[:2], [0.5], [0.5])
        model = MLP([5], classes=7)
        assert context is without_native_code or chain_of(model, split.pixels)
        with context():
            losses, correct = Classifier(
                model, Transposing(model.parameters()), Schedule(epochs=1), lr=0.1, seed=0
            ).train_on(split[torch.arange(90).split(30)])
        results.append([losses, correct, *model.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_the_hooks_of_an_optimizer_are_called() -> None:
    torch.manual_seed(0)
    split = Split(*data_of((1, 28, 28))[:2], [0.5], [0.5])
    model = MLP([5], classes=7)
    optimizer = SGD(model.parameters(), lr=0.1)
    classifier = Classifier(model, optimizer, Schedule(epochs=1), lr=0.1, seed=0)
    calls: list[object] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    classifier.train_on(split[torch.arange(90).split(30)])
    assert calls == ["before", "after"] * 3


def test_layers_that_do_not_fit_are_refused() -> None:
    data = data_of((1, 5, 5))
    chain = native(MLP([5]), data)
    with pytest.raises(ValueError, match="do not fit"):
        chain.train(data, [torch.arange(5)])


def test_a_bias_of_another_length_is_refused() -> None:
    data = data_of((1, 28, 28))
    model = LeNet(classes=7)
    model.conv1.bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="do not fit"):
        native(model, data).train(data, [torch.arange(5)])


@pytest.mark.parametrize("network", ["lenet", "lenet of colours"])
def test_slices_of_a_minibatch_give_the_same_bits_as_the_whole(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread, the native code takes a minibatch in slices of 64 images; with more, it takes all at once."""
    torch.manual_seed(0)
    data = data_of(SHAPES[network], n=333)
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(THREADS, "number", threads)
        torch.manual_seed(1)
        model = NETWORKS[network](SHAPES[network])
        chain = native(model, data)
        losses, correct = chain.train(data, [torch.arange(333)])
        logits = chain.logits(data, [torch.arange(200), torch.arange(200, 333)])
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        results.append([losses, correct, logits, *gradients])
    assert all(map(torch.equal, *results))
    assert len(results[0]) == len(results[1]) == 3 + len(list(model.parameters()))
