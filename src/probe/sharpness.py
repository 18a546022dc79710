"""The sharpness of the loss, the largest eigenvalue of its Hessian, and the sharpness at which a step gets unstable."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

PRECISION = 1e-3  # of the eigenvalue, relative
VECTORS = 8  # of the Krylov space
RESTARTS = 20


def sharpness(loss: Callable[[], Tensor], parameters: Sequence[Tensor], scale: Sequence[Tensor] | None = None) -> float:
    """Return the largest eigenvalue of D H D, where H is the Hessian of `loss` and D the diagonal matrix of `scale`.

    Lanczos iterations of ARPACK on Hessian-vector products. The loss must be made of operators that can be
    differentiated twice. Not a number if they are not finite or the iterations do not converge.
    """
    gradient = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
    diagonal = None if scale is None else parameters_to_vector(list(scale))
    like = parameters[0]
    n = sum(parameter.numel() for parameter in parameters)

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        direction = torch.from_numpy(vector.ravel()).to(like.device, like.dtype)
        scaled = direction if diagonal is None else direction * diagonal
        parts = [
            part.view_as(each)
            for part, each in zip(scaled.split([p.numel() for p in parameters]), parameters, strict=True)
        ]
        along = torch.autograd.grad(gradient, parameters, parts, retain_graph=True, materialize_grads=True)
        result = torch.cat([part.reshape(-1) for part in along])
        return (result if diagonal is None else result * diagonal).double().cpu().numpy()

    start = np.random.default_rng(0).standard_normal(n)
    first = product(start)
    if not np.isfinite(first).all():
        return math.nan
    if n == 1 or not first.any():  # ARPACK wants two dimensions and a Hessian other than 0
        return float(first[0] / start[0])
    hessian = LinearOperator((n, n), matvec=product, dtype=np.float64)
    try:
        (largest,) = eigsh(
            hessian, k=1, which="LA", v0=start, tol=PRECISION, ncv=min(n, VECTORS), maxiter=RESTARTS,
            return_eigenvectors=False,
        )  # fmt: skip
    except ArpackError:
        return math.nan
    return float(largest)


def scaling(optimizer: Optimizer, parameters: Sequence[Tensor]) -> list[Tensor] | None:
    """Return D, so that the optimizer descends with D^2 in place of a matrix: None for SGD, whose D is the identity.

    D^2 is 1 / (sqrt(v) + eps) with Adam's and RMSprop's running mean v of squared gradients, or AdaGrad's sum. It is 1
    for parameters that have had no gradient.
    """
    if not isinstance(optimizer, Adam | Adagrad | RMSprop):
        return None
    group_of = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    found = []
    for parameter in parameters:
        state, group = optimizer.state.get(parameter), group_of.get(parameter)
        if not state or not group:
            found.append(torch.ones_like(parameter))
            continue
        if isinstance(optimizer, Adam):
            second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
            second = second / (1 - group["betas"][1] ** float(state["step"]))
        else:
            second = state["sum" if isinstance(optimizer, Adagrad) else "square_avg"]
        found.append((second.sqrt() + group["eps"]).rsqrt())
    return found


def stability_limit(optimizer: Optimizer) -> float:
    """Return the sharpness (of D H D) above which a full-batch step is unstable; not a number if none is known.

    It is that of the first parameter group.

    2 / lr for gradient descent, AdaGrad and RMSprop; 2 (1 + m) / lr with heavy-ball momentum m (Cohen et al. 2021,
    arXiv 2103.00065); (2 + 2 b) / ((1 - b) lr) with Adam's first beta b, 38 / lr for 0.9 (Cohen et al. 2022, arXiv
    2207.14484). Nesterov's momentum: 2 (1 + m) / ((1 + 2 m) lr).
    """
    group = optimizer.param_groups[0]
    lr, momentum = float(group["lr"]), float(group.get("momentum", 0.0))
    if lr == 0:
        return math.inf
    if isinstance(optimizer, Adam):
        first = group["betas"][0]
        return (2 + 2 * first) / ((1 - first) * lr)
    if isinstance(optimizer, SGD) and not group["dampening"]:
        return 2 * (1 + momentum) / ((1 + 2 * momentum if group["nesterov"] else 1) * lr)
    if isinstance(optimizer, Adagrad) and not group["lr_decay"]:
        return 2 / lr
    if isinstance(optimizer, RMSprop) and not momentum and not group["centered"]:
        return 2 / lr
    return math.nan
