"""Bad command lines give one line on stderr with the reason, the exit code, and no file."""

import logging
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hypothesis import example, given
from hypothesis import strategies as st

from src.config.combinations import MAX_RUNS, combinations, length
from src.data import datasets
from src.errors import TRACEBACK, UserError
from src.native.build import backend
from src.native.threads import THREADS
from src.train import main
from tests.helpers.commands import Command, environment

Typed = Callable[..., tuple[int, str, str]]  # exit code, stdout and stderr of the command's words


@pytest.fixture
def typed(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Typed]:
    """Run `python -m src.train` in this process, in an empty folder and without a network."""
    backend()  # compiled, if need be, while there is a compiler
    here, nothing = tmp_path / "here", tmp_path / "bin"
    here.mkdir()
    nothing.mkdir()
    for key, value in environment(small_mnist, PATH=str(nothing), HYDRA_FULL_ERROR="0", **{TRACEBACK: "0"}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(here)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    plugins = {Plugins: Plugins.instance()}  # otherwise Hydra searches for them again after each test
    state, threads, cores = Singleton.get_state(), torch.get_num_threads(), THREADS.number
    loggers = list(logging.root.handlers), logging.root.level

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        stdout, stderr = capsys.readouterr()
        return (
            code,
            stdout,
            "".join(line for line in stderr.splitlines(keepends=True) if "not the published MNIST" not in line),
        )

    yield run
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    Singleton.set_state(state | {"instances": state["instances"] | plugins})
    torch.set_num_threads(threads)
    THREADS.number = cores
    logging.root.handlers, logging.root.level = loggers
    datasets.choose.cache_clear()
    datasets.load.cache_clear()


NAME = "must be a name without folder or .yaml; --help lists the names"
QUOTES = "quotes are missing"
ONE_VALUE = "a sweep cannot vary {}; give it one value"
UNREADABLE = "cannot be parsed; write key=value"
SEVERAL = "has several values; add -m to train them all"
EMPTY = "has no values"
ABOVE_0 = "must be a finite number above 0; try lr=0.05"
FOLDER = "must name a folder"
NAMES = "must be a list with a name for each class"
SEARCH = "-m hydra/sweeper=optuna model=mlp data.validation=60"
BARE = "~model.init ~model.activation ~model.pooling ~model.padding"
HUGE = "1" + 400 * "0"
LONG = 300 * "a"

BAD = {
    # Unknown and removed keys.
    "learning_rate=1": "learning_rate: there is no such key; python -m src.train --cfg job lists all keys",
    "+learning_rate=1": "learning_rate: there is no such key; python -m src.train --cfg job lists all keys",
    "++learning_rate=1": "learning_rate: there is no such key",
    "optimzer=adam": "optimzer: there is no such key; did you mean optimizer?",
    "batchsize=1": "batchsize: there is no such key; did you mean batch_size?",
    "-m lrr=1,2": "lrr: there is no such key; did you mean lr?",
    "-m +foo=1,2": "foo: there is no such key",
    "--cfg job lrr=1": "lrr: there is no such key; did you mean lr?",
    "model=mlp model.hiden=[1,2,3]": "model.hiden: there is no such key; did you mean model.hidden?",
    "hidden=[1,2,3]": "hidden: there is no such key; did you mean model.hidden, with model=mlp?",
    "model.hidden=[1,2,3]": "adds an argument); did you mean model.hidden, with model=mlp?",
    "warmup=3": "warmup: there is no such key; did you mean schedule.warmup",
    "optimizer=sgd optimizer.momentun=0.8": "there is no such key; did you mean optimizer.momentum?",
    "optimizer.momentum=0.8": "there is no such key; optimizer has betas, eps, weight_decay, fused (+",
    "data.fold=3": "data.fold: there is no such key; data has name, validation, test, normalize, augment, classes",
    "+data.fold=3": "data.fold: there is no such key; data has name, validation, test, normalize, augment, classes",
    "schedule={a:1}": "schedule.a: there is no such key; schedule has warmup",
    "lr.x=1": "lr.x: there is no such key",
    "foo.bar=1": "foo: there is no such key",
    "foo/bar=1": "foo/bar: there is no such key",
    "hydra.launcher.worker=2": "hydra.launcher.worker: there is no such key; did you mean hydra.launcher.workers?",
    "-m hydra.sweeper.foo=1": "hydra.sweeper.foo: there is no such key; hydra.sweeper has max_batch_size",
    "+optimizer.momentum=0.9": "optimizer.momentum: Adam takes no such argument; it takes: betas, eps, ",
    "+lr=0.1": "+lr=0.1: lr already exists; leave out the +",
    "+optimizer=adam": "+optimizer=adam: optimizer already exists; leave out the +",
    "~lr": "~lr: lr cannot be removed; leave this out, or set another value with lr=",
    "~lr=0.0005": "~lr=0.0005: lr cannot be removed",
    "~model": "~model: model cannot be removed",
    "~data": "~data: data cannot be removed",
    "~optimizer": "~optimizer: optimizer cannot be removed",
    "~schedule": "~schedule: schedule cannot be removed",
    "~epochs": "~epochs: epochs cannot be removed",
    "~output_dir": "~output_dir: output_dir cannot be removed",
    "~data.classes": "~data.classes: data.classes cannot be removed",
    "~lrr": "'lrr' does not exist",
    "~model._target_": "model._target_=None: must be a class",
    # Members of the groups.
    "optimizer=adamm": "optimizer=adamm: there is no such optimizer; choose one of: adabelief, adadelta, adafactor",
    "model=vgg": "model=vgg: there is no such model; choose one of: lenet, mlp",
    "model=MLP": "model=MLP: there is no such model; choose one of: lenet, mlp",
    "model=": "model=: there is no such model; choose one of: lenet, mlp",
    "-m optimizer=adam,adamm": "optimizer=adamm: there is no such optimizer; choose one of: adabelief",
    "data=cifar": "data=cifar: there is no such data; choose one of: arrays, auto, cifar10",
    "model=../mlp": f"model=../mlp: {NAME}",
    "model=sub/../mlp": f"model=sub/../mlp: {NAME}",
    "model=/etc/passwd": f"model=/etc/passwd: {NAME}",
    "model=mlp.yaml": f"model=mlp.yaml: {NAME}",
    "-m model=lenet,../mlp": f"model=lenet,../mlp: {NAME}",
    "model=null": f"model=null: {NAME}",
    "data=null": f"data=null: {NAME}",
    "schedule=null": f"schedule=null: {NAME}",
    "schedule=0.1": f"schedule=0.1: {NAME}",
    "schedule=true": f"schedule=true: {NAME}",
    "schedule=[]": f"schedule=[]: {NAME}",
    "optimizer=[adam,sgd]": f"optimizer=[adam,sgd]: {NAME}",
    "-m optimizer=sgd,null": f"optimizer=sgd,null: {NAME}",
    "-m hydra/launcher=null": f"hydra/launcher=null: {NAME}",
    "hydra=3": f"hydra=3: {NAME}",
    "study=smoke": "study=smoke: a study is added to the configuration; write +study=smoke",
    "+study=thesis": "study=thesis: there is no such study; choose one of: assignment, batch_growth, claims",
    "+study=": "study=: there is no such study; choose one of: assignment",
    "+study=null": f"+study=null: {NAME}",
    "+study=../smoke": f"+study=../smoke: {NAME}",
    "+study=smoke +study=claims": "Multiple values for study",
    "+study=smoke,claims": ONE_VALUE.format("study"),
    "-m +study=smoke,claims": ONE_VALUE.format("study"),
    # Values of every key.
    "lr=": f"lr=: {ABOVE_0}",
    "lr=null": f"lr=None: {ABOVE_0}",
    "lr=-1": f"lr=-1: {ABOVE_0}",
    "lr=0": f"lr=0: {ABOVE_0}",
    "lr=abc": f"lr=abc: {ABOVE_0}",
    "lr=nan": f"lr=nan: {ABOVE_0}",
    "lr=inf": f"lr=inf: {ABOVE_0}",
    "lr=1e400": f"lr=inf: {ABOVE_0}",
    f"lr={HUGE}": f"lr={HUGE}: {ABOVE_0}",
    "lr=true": f"lr=True: {ABOVE_0}",
    "lr=[0.1]": f"lr=[0.1]: {ABOVE_0}",
    "+lr.x=1": f"lr={{'x': 1}}: {ABOVE_0}",
    "+study=smoke lr=": f"lr=: {ABOVE_0}",
    "lr=???": "lr: is missing; set lr=",
    "epochs=???": "epochs: is missing; set epochs=, such as epochs=20",
    "lr=${nope}": "lr: Interpolation key 'nope' not found",
    "lr=${lr}": "lr: Recursive interpolation detected",
    "batch_size=0": "batch_size=0: must be a whole number, 1 or more",
    "batch_size=1.5": "batch_size=1.5: must be a whole number, 1 or more",
    "batch_size=null": "batch_size=None: must be a whole number, 1 or more",
    "batch_size=nan": "batch_size=nan: must be a whole number, 1 or more",
    "batch_size=[64]": "batch_size=[64]: must be a whole number, 1 or more",
    "batch_size=99999999999999999999": "batch_size=99999999999999999999: must be a whole number, 1 or more",
    "batch_size=301": "batch_size=301: must not be above the 300 training images",
    "batch_size=301 dry_run=true": "batch_size=301: must not be above the 300 training images",
    "-m batch_size=301 seed=0,1": "batch_size=301: must not be above the 300 training images",
    "-m batch_size=64,301 data.validation=300": "data.validation=300: must be fewer than the 300 training images",
    "data.validation=299": "batch_size=64: must not be above the 1 training images that data.validation=299 leaves",
    "epochs=0": "epochs=0: must be a whole number, 1 or more",
    "epochs=": "epochs=: must be a whole number, 1 or more",
    "epochs=1e3": "epochs=1000.0: must be a whole number, 1 or more",
    "epochs=true": "epochs=True: must be a whole number, 1 or more",
    "epochs={a:1}": "epochs={'a': 1}: must be a whole number, 1 or more",
    "-m epochs=0 seed=0,1": "epochs=0: must be a whole number, 1 or more",
    "seed=-1": "seed=-1: must be a whole number, 0 or more",
    "seed=null": "seed=None: must be a whole number, 0 or more",
    "seed=99999999999999999999": "seed=99999999999999999999: must be a whole number, 0 or more",
    "data.validation=-1": "data.validation=-1: must be a whole number, 0 or more",
    "data.validation=1.5": "data.validation=1.5: must be a whole number, 0 or more",
    "data.validation=300": "data.validation=300: must be fewer than the 300 training images",
    "data.normalize=minmax": "data.normalize=minmax: must be one of: half, standard, center, none",
    "data.normalize=[half]": "data.normalize=['half']: must be one of: half, standard, center, none",
    "model=lenet model.pooling=min": "model: src.models.LeNet cannot be built from {",
    "data.name=cifar": "data.name=cifar: must be one of: auto, mnist, fashion_mnist, kmnist, emnist, cifar10",
    "data.name=[mnist]": "data.name=['mnist']: must be one of: auto, mnist",
    "data.classes=[a,b]": "data.classes: is a list of 2, but the data have 10 classes",
    "data.classes=[0,1,2,3,4,5,6,7,8,9,10]": "data.classes: is a list of 11, but the data have 10 classes",
    "data.classes=abcdefghij": f"data.classes=abcdefghij: {NAMES}",
    "data.classes=3": f"data.classes=3: {NAMES}",
    "data.classes=[]": f"data.classes=[]: {NAMES}",
    "data.classes=[0,1,2,3,4,5,6,7,8,[9]]": NAMES,
    "data.test=0.2": "data.test=0.2: is only for data of your own that have no test set",
    "data.test=lots": "data.test=lots: must be a share of the images",
    "data.augment=rotate": "data.augment=rotate: must be one of: none, flip, shift, flip_shift",
    "-m data.classes=[a] seed=0,1": "data.classes: is a list of 1, but",
    "device=tpu": "device=tpu: must be one of: auto, cpu, cuda",
    "device=null": "device=None: must be one of: auto, cpu, cuda",
    "device=cuda": "device=cuda: no CUDA device is available; use device=cpu or device=auto",
    "-m device=tpu seed=0,1": "device=tpu: must be one of: auto, cpu, cuda",
    "threads=0": "threads=0: must be a whole number, 1 or more",
    "threads=1.5": "threads=1.5: must be a whole number, 1 or more",
    "threads=10000": "threads=10000: must not be above ",
    "threads=100000000": "threads=100000000: must not be above ",
    "-m threads=100000000 seed=0,1": "threads=100000000: must not be above ",
    "force=maybe": "force=maybe: must be true or false",
    "force=1": "force=1: must be true or false",
    "dry_run=null": "dry_run=None: must be true or false",
    "fail_fast=": "fail_fast=: must be true or false",
    # Folders.
    "output_dir=": f"output_dir=: {FOLDER}; try output_dir=outputs",
    "output_dir=null": f"output_dir=: {FOLDER}; try output_dir=outputs",
    "output_dir=[a]": f"output_dir=['a']: {FOLDER}",
    "output_dir=true": f"output_dir=True: {FOLDER}",
    "output_dir=3": f"output_dir=3: {FOLDER}; write 'output_dir=\"3\"' for a number",
    "-m output_dir=null seed=0,1": f"output_dir=: {FOLDER}",
    "output_dir=a=b": f"output_dir=a=b: {QUOTES}, for the shell and inside them; write 'output_dir=\"a=b\"'",
    "output_dir=größe": f"{QUOTES}, for the shell and inside them; write 'output_dir=\"größe\"'",
    "output_dir=a b": "b: is not a setting; write key=value, with quotes if the value has spaces: 'output_dir=\"a b\"'",
    "output_dir=~/x": f'output_dir=~/x: {QUOTES}, and ~ is not expanded here; write output_dir="$HOME/x"',
    "'output_dir=\"~/x\"'": 'output_dir=~/x: ~ is not expanded here; write output_dir="$HOME/x"',
    "output_dir=a,b": ONE_VALUE.format("output_dir"),
    "output_dir=/dev/null": "/dev/null/mnist/lenet/",
    "output_dir=/dev/null/below": "Not a directory; choose another path",
    f"output_dir={LONG}": "File name too long; choose another path",
    "data_root=": f"data_root=: {FOLDER}; try data_root=data",
    "data_root=null": f"data_root=: {FOLDER}; try data_root=data",
    "data_root=[a]": f"data_root=['a']: {FOLDER}",
    "data_root=~": f"{QUOTES}, and ~ is not expanded here",
    "data=mnist data_root=sub/dir": "its files are not in sub/dir/MNIST/raw and cannot be downloaded",
    "data=mnist data_root=/proc": "its files are not in /proc/MNIST/raw and cannot be downloaded",
    "data=mnist data_root=/dev/null": "its files are not in /dev/null/MNIST/raw and cannot be downloaded",
    # Arguments of the classes.
    "optimizer=sgd optimizer.momentum=nan": "optimizer.momentum=nan: must be a finite number",
    "optimizer.weight_decay=-inf": "optimizer.weight_decay=-inf: must be a finite number",
    "optimizer.betas=[0.9,nan]": "optimizer.betas=nan: must be a finite number",
    "optimizer.eps=99999999999999999999": "optimizer.eps=99999999999999999999: must be a number below 2^63",
    "+optimizer.foo={1:2}": "optimizer.foo.1: is not a valid key",
    "optimizer.eps=-1": "Invalid epsilon value: -1",
    "optimizer._target_=src.models.LeNet": "optimizer._target_=src.models.LeNet: is not a subclass of Optimizer",
    "model._target_=src.models.ResNet": "model._target_=src.models.ResNet: cannot be imported",
    "model._target_=null": "model._target_=None: must be a class",
    f"model._target_=torch.nn.Flatten {BARE}": "its output for 2 images has shape (2, 784); must be (2, 10)",
    "model=mlp model.hidden=80": "hidden=80: must be a list of whole numbers",
    "model=mlp model.hidden=[80,0]": "hidden=[80, 0]: must be a list of whole numbers",
    "model=mlp model.hidden=[inf,1,1]": "model.hidden=inf: must be a finite number",
    "schedule.warmup=nan": "schedule.warmup=nan: must be a finite number",
    "schedule.warmup=20": "warmup=20: must be fewer than epochs=20",
    "+schedule.eta_min=0.1 dry_run=true": "schedule.eta_min: Schedule takes no such argument; it takes: warmup",
    "optimizer=sgd optimizer.momentum=-1 dry_run=true": "Invalid momentum value: -1",
    "model=mlp model.hidden=7 dry_run=true": "model: src.models.MLP cannot be built from",
    "schedule=trapezoid schedule.warmup_updates=9999": "must be fewer than the run's 100 updates",
    "schedule=linear schedule.warmup_updates=1.5": "warmup_updates=1.5: must be a whole number of updates, or a share",
    "schedule=one_cycle optimizer=adagrad": "Adagrad has none; for torch's schedulers, add ++schedule.cycle",
    "schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau": "wants metrics in every step",
    "schedule=step epochs=1": "epoch 15 is never reached with epochs=1; try epochs=16",
    "schedule=step epochs=2": "epoch 15 is never reached with epochs=2; try schedule.milestones=[1]",
    "schedule=step schedule.milestones=[0]": "milestones=0: must be a whole number, 1 or more",
    "schedule=step schedule.factor=99999999999999999999": "must be a number below 2^63",
    "schedule=exponential schedule.gamma=true": "gamma=True: must be above 0 and at most 1",
    # Sweeps.
    "lr=1,2": f"lr=1,2: {SEVERAL}",
    "seed=range(0,3)": f"seed=range(0,3): {SEVERAL}",
    "seed=choice(1,2)": f"seed=choice(1,2): {SEVERAL}",
    "-m lr=range(1,1)": f"lr=range(1,1): {EMPTY}",
    "-m seed=range(5,1)": f"seed=range(5,1): {EMPTY}",
    "-m lr=choice()": f"lr=choice(): {EMPTY}",
    "-m optimizer=glob(x*)": f"optimizer=glob(x*): {EMPTY}",
    "+study=smoke lr=range(1,1)": f"lr=range(1,1): {EMPTY}",
    "-m seed=range(0,1e9)": "seed=range(0,1e9): makes 1,000,000,000 runs; a sweep may have at most 10,000",
    "+study=smoke seed=range(0,1e9)": "seed=range(0,1e9): makes 6,000,000,000 runs",
    f"-m seed=range({HUGE})": "runs; a sweep may have at most 10,000",
    "-m seed=range(101) epochs=range(1,101)": "seed=range(101): makes 10,100 runs; a sweep may have at most 10,000",
    "-m seed=range(0,5,0)": "seed=range(0,5,0): is not a range",
    "-m lr=range(0.0,inf)": "lr=range(0.0,inf): is not a range",
    "-m lr=range(nan,1)": "lr=range(nan,1): is not a range",
    "-m lr=interval(0.1,0.2)": "lr=interval(0.1,0.2): only a search takes an interval; add hydra/sweeper=optuna",
    "-m lr=tag(log,interval(0.1,0.2))": "only a search takes an interval; add hydra/sweeper=optuna",
    "-m output_dir=a,b": ONE_VALUE.format("output_dir"),
    "-m data_root=a,b": ONE_VALUE.format("data_root"),
    "-m device=cpu,cuda": ONE_VALUE.format("device"),
    "-m threads=1,2": ONE_VALUE.format("threads"),
    "probe=1": "probe=1: must be one of: false, true, sharpness",
    "probe=hessian": "probe=hessian: must be one of: false, true, sharpness",
    "probe=": "probe=: must be one of: false, true, sharpness",
    "-m probe=true,false": ONE_VALUE.format("probe"),
    "optimizer._target_=torch.optim.LBFGS ~optimizer.betas ~optimizer.eps ~optimizer.weight_decay ~optimizer.fused "
    "probe=true": "probe=true: LBFGS evaluates a minibatch several times in an update; leave probe out",
    "-m force=true,false": ONE_VALUE.format("force"),
    "together=[optimizer,lr]": "together: applies only to a sweep; add -m",
    "-m together=optimizer,lr optimizer=sgd,adam lr=0.1,0.2": "needs brackets; write 'together=[optimizer,lr]'",
    "-m together=[optimizer,lr] optimizer=sgd,adam lr=0.1": "together=[optimizer,lr]: lr has one value; give several",
    f"{SEARCH} lr=0.1,0.2 together=[lr,seed]": "together: applies to a grid, not to a search; leave it out",
    "-m dry_run=true,false": ONE_VALUE.format("dry_run"),
    "-m fail_fast=true,false": ONE_VALUE.format("fail_fast"),
    "-m data.classes=[a],[b]": ONE_VALUE.format("data.classes"),
    "-m hydra.launcher.workers=1,2": ONE_VALUE.format("hydra.launcher.workers"),
    "-m hydra/launcher=local,basic": ONE_VALUE.format("hydra/launcher"),
    "-m hydra/sweeper=optuna output_dir=a,b": ONE_VALUE.format("output_dir"),
    # Launchers and sweepers.
    "-m hydra.launcher.workers=0": "hydra.launcher.workers=0: must be 1 or more",
    "-m hydra.launcher.workers=a": "hydra.launcher.workers: Value 'a' of type 'str' could not be converted to Integer",
    "-m hydra.launcher.vectorize=maybe": "hydra.launcher.vectorize=maybe: must be one of: auto, true, false",
    "-m hydra.launcher.verify=maybe": "hydra.launcher.verify: Value 'maybe' is not a valid bool",
    "-m +hydra.launcher.foo=1": "unexpected keyword argument 'foo'",
    "-m hydra/launcher=nope": "hydra/launcher=nope: there is no such hydra/launcher; choose one of: basic",
    "-m hydra/sweeper=nope": "hydra/sweeper=nope: there is no such hydra/sweeper; choose one of: basic, grid",
    "-m hydra/sweeper=basic seed=0,1": "hydra/sweeper=basic: does not check its runs before it starts them; leave it",
    "-m hydra/launcher=submitit_local seed=0,1": "leaves a folder named %j here; write hydra/launcher=slurm_local",
    "-m ~hydra/launcher": "hydra.launcher: Missing mandatory value",
    "-m hydra.sweeper.max_batch_size=0": "hydra.sweeper.max_batch_size=0: must be a whole number, 1 or more",
    "-m hydra.sweeper.max_batch_size=a": "hydra.sweeper.max_batch_size=a: must be a whole number, 1 or more",
    "-m hydra/launcher=basic dry_run=true": "dry_run=true: works only with the local launcher, not with basic",
    "hydra.launcher.workers=2": "hydra.launcher.workers=2: applies only to a sweep; add -m",
    "hydra/launcher=joblib": "hydra/launcher=joblib: applies only to a sweep; add -m",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna: applies only to a sweep; add -m",
    "-m hydra/launcher=slurm seed=0,1": "hydra/launcher=slurm: there is no sbatch here; run this on a login node",
    "-m hydra/sweeper=optuna hydra/launcher=slurm lr=1,2": "hydra/launcher=slurm: there is no sbatch here",
    "-m hydra/sweeper=optuna lr=range(1,1)": "lr=range(1,1): has no values to search",
    "-m hydra/sweeper=optuna lr=range(0,1,0)": "lr=range(0,1,0): is not a range",
    # Searches.
    f"{SEARCH} hydra.sweeper.objective=test_loss lr=0.1,0.2": "test_loss: would choose on the test set",
    f"{SEARCH} hydra.sweeper.objective=loss lr=0.1,0.2": "hydra.sweeper.objective=loss: is not an objective",
    f"{SEARCH} lr=0.1,0.2 data.validation=0": "no images are held out for it; try data.validation=5000",
    f"{SEARCH} lr=0.1,0.2 dry_run=true": "dry_run=true: a search chooses trials as it runs",
    f"{SEARCH} lr=0.1": "hydra/sweeper=optuna: has nothing to search",
    f"{SEARCH} lr=tag(lg,interval(1,2))": "lr=tag(lg,interval(1,2)): an interval can be tagged log, and nothing else",
    f"{SEARCH} lr=tag(log,interval(0,2))": "lr=tag(log,interval(0,2)): has no values to search",
    f"{SEARCH} lr=interval(3,2)": "lr=interval(3,2): has no values to search",
    f"{SEARCH} lr=range(3,2)": "lr=range(3,2): has no values to search",
    f"{SEARCH} lr=0.1,-1": "lr=-1: must be a finite number above 0",
    f"{SEARCH} lr=interval(-1,1)": "lr=-1.0: must be a finite number above 0",
    f"{SEARCH} batchsize=8,16": "batchsize: there is no such key; did you mean batch_size?",
    f"{SEARCH} optimizer=adam,adamm": "optimizer=adamm: there is no such optimizer; choose one of",
    f"{SEARCH} lr=0.1,0.2 hydra.sweeper.n_trials=0": "hydra.sweeper.n_trials=0: must be a whole number, 1 or more",
    f"{SEARCH} lr=0.1,0.2 hydra.sweeper.n_trails=9": "hydra.sweeper.n_trails: there is no such key",
    # Arguments that are not settings.
    "lr": "lr: is not a setting; write key=value",
    "+study": "+study: is not a setting; write key=value",
    "lr:3": "lr:3: is not a setting; write key=value",
    "-1": "-1: is not a setting; write key=value",
    "=3": "=3: is not a setting; write key=value",
    "=": "=: is not a setting; write key=value",
    "lr==3": UNREADABLE,
    "lr=3=4": UNREADABLE,
    "lr=[": UNREADABLE,
    "lr=]": UNREADABLE,
    "lr=(": UNREADABLE,
    "lr={": UNREADABLE,
    "lr=${": UNREADABLE,
    "lr=1,": UNREADABLE,
    "'lr=\"0.1'": UNREADABLE,
    '"lr=\'0.1"': UNREADABLE,
    "'lr = 0.1'": UNREADABLE,
    f"lr={LONG.replace('a', '[')}": UNREADABLE,
    "-m seed=range(a,b)": UNREADABLE,
    "optimizer=ädam": UNREADABLE,
    "größe=3": UNREADABLE,
    # Switches.
    "--foo": "unrecognized arguments: --foo",
    "--lr=0.1": "unrecognized arguments: --lr=0.1; --hydra-help lists the switches, and settings have no dashes",
    "--lr 0.1": "unrecognized arguments: --lr;",
    "lr=0.1 -x": "unrecognized arguments: -x",
    "--multirun=3": "argument --multirun/-m: ignored explicit argument '3'",
    "--cfg": "argument --cfg/-c: expected one argument",
    "--cfg nope": "argument --cfg/-c: invalid choice: 'nope'",
    "--h": "ambiguous option: --h could match --help, --hydra-help",
    "--resolve": "--resolve: needs --cfg or --help",
    "--run -m": "--run, --multirun, --cfg, --info, --shell-completion: only one of these can be given",
    "--experimental-rerun=x": "--experimental-rerun: is not supported",
    "--config-name=nope": "Cannot find primary config 'nope'",
    "--config-dir=missing": "missing' not found",
    "-m hydra.mode=RUN": "hydra.mode=RUN: contradicts -m",
    "hydra.mode=nope": "hydra.mode: Invalid value 'nope', expected one of [RUN, MULTIRUN]",
}
A_RUN_FAILED = {"output_dir=/dev/null", "output_dir=/dev/null/below", f"output_dir={LONG}"}  # exit code 1
AS_TYPED = ["optimizer=adamm", "~model", "epochs=0", "threads=100000000", "batch_size=301", "-m lr=range(1,1)", "--foo"]


@pytest.mark.parametrize("line", BAD)
def test_bad_input_gets_one_clear_line(line: str, typed: Typed) -> None:
    code, stdout, stderr = typed(*shlex.split(line))
    assert BAD[line] in stderr
    assert stderr.count("\n") == 1, stderr
    assert re.fullmatch(r"(mnist \w+ \w+ .*  in outputs/.*/\n)?", stdout)  # named before the network is built
    assert code == (1 if line in A_RUN_FAILED else 2)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("line", AS_TYPED)
def test_bad_input_from_a_shell_gets_one_clear_line(line: str, train: Command, outputs: Path) -> None:
    ended = train(*shlex.split(line))
    (said,) = [each for each in ended.stderr.splitlines() if "not the published MNIST" not in each]
    assert BAD[line] in said
    assert (ended.returncode, ended.stdout) == (2, "")
    assert not outputs.exists()


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("dry_run=true", 1),
        ("-m seed=0,1 dry_run=true", 2),
        ("model=mlp -m seed=0,1 dry_run=true", 2),  # switches may stand anywhere
        ("seed=0,1 dry_run=true --multirun", 2),
        ("+study=smoke dry_run=true", 6),
        # Settings that each swept member has, but not the default one.
        ("-m optimizer=sgd,sgd_nesterov optimizer.momentum=0.8 dry_run=true", 2),
        ("-m schedule=linear,polynomial schedule.warmup_updates=7 ++schedule.final=0.1 dry_run=true", 2),
        ("-m schedule=step,grow_batch schedule.milestones=[1,2] dry_run=true", 2),
    ],
)
def test_a_dry_run_writes_nothing(line: str, runs: int, typed: Typed) -> None:
    code, stdout, stderr = typed(*shlex.split(line))
    assert (code, stderr) == (0, "")
    assert sum(each.startswith("to do ") for each in stdout.splitlines()) == runs
    assert list(Path().iterdir()) == []


@given(*3 * [st.decimals(-2, 2, places=2)])
@example(Decimal("0.4"), Decimal("0.8"), Decimal("0.1"))  # 0.4, 0.5, 0.6, 0.7 and, by rounding, 0.8
def test_the_length_of_a_range_equals_hydras(start: Decimal, stop: Decimal, step: Decimal) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"lr=range({start},{stop},{step})"])
    value = override.value()
    assert isinstance(value, RangeSweep)
    if step == 0:
        with pytest.raises(UserError, match="is not a range"):
            length("", value)
    else:
        assert length("", value) == len(list(value.range()))


def test_a_sweep_has_a_maximum_number_of_runs() -> None:
    parsed = OverridesParser.create().parse_overrides(["seed=0,1", "epochs=3", f"seed=range({MAX_RUNS})"])
    jobs = combinations(parsed)  # in which the last seed counts
    assert len(jobs) == MAX_RUNS
    assert jobs[-1] == [f"seed={MAX_RUNS - 1}", "epochs=3"]
