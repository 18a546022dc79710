"""Torch's compiler is imported only where it is used, and works there."""

import subprocess
import sys

from tests.helpers.commands import ROOT, environment

TRAIN = """
import os, pickle, sys
import torch
from src.training import deferred_dynamo
from src.training.trainer import Training
def absent_from_torch(): pass
network = torch.nn.Linear(3, 2)
optimizer = torch.optim.Adam(network.parameters())
network(torch.ones(4, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
assert not hasattr(torch._dynamo, "Absent")
absent_from_torch.__module__ = None  # so that it is looked for in all modules
assert pickle.whichmodule(absent_from_torch, "absent_from_torch") == "__main__"
assert "torch._dynamo.eval_frame" not in sys.modules
"""
USES = {
    "compile": """
network.compile(backend="eager")
twice = torch.compile(lambda x: 2 * x, backend="eager", fullgraph=True)
assert twice(torch.ones(2)).tolist() == [2, 2]
assert network(torch.ones(4, 3)).shape == (4, 2)
assert isinstance(torch.compile(network, backend="eager"), torch._dynamo.OptimizedModule)
from pytorch_lightning.utilities import compile as of_lightning
assert isinstance(torch.compile(network, backend="eager"), of_lightning.OptimizedModule)
""",
    "disable": """
from torch.compiler import disable
assert not isinstance(network, torch._dynamo.OptimizedModule)
assert disable(abs)(-1) == 1  # which has no `__module__`
twice = disable(recursive=False)(disable(lambda x: 2 * x))
assert torch.compile(lambda x: twice(x) + 1, backend="eager")(torch.ones(2)).tolist() == [3, 3]
try:
    torch.compile(lambda x: twice(x) + 1, backend="eager", fullgraph=True)(torch.ones(2))
except torch._dynamo.exc.Unsupported:
    pass
else:
    raise AssertionError("was compiled")
""",
    "export": """
from torch._dynamo.utils import counters
import torch._dynamo.config, torch._dynamo.testing
program = torch.export.export(network, (torch.ones(4, 3),))
assert torch.equal(program.module()(torch.ones(4, 3)), network(torch.ones(4, 3)))
assert torch._dynamo.utils.counters is torch._dynamo.convert_frame.counters is counters
assert torch._dynamo.config is torch._dynamo.convert_frame.config is sys.modules["torch._dynamo.config"]
assert torch._dynamo.config.__spec__.origin.endswith("config.py")
names = [name for name in vars(torch._dynamo) if not name.startswith("__")]
assert set(names) <= deferred_dynamo._names()
""",
}


IN_A_FORK = """
if not (child := os.fork()):
    exec({use!r})
    assert "torch._dynamo.eval_frame" in sys.modules
    os._exit(0)
codes[{name!r}] = os.waitpid(child, 0)[1]
"""


def test_the_compiler_is_imported_by_its_first_use() -> None:
    """A fork for each use, since all begin where nothing has used the compiler."""
    forks = [IN_A_FORK.format(name=name, use=use) for name, use in USES.items()]
    script = "\n".join([TRAIN, "codes = {}", *forks, "assert not any(codes.values()), codes"])
    env = environment(ROOT, OMP_NUM_THREADS="1")  # threads do not survive a fork
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
