"""`python -m src.train`: train the network that conf/ and the command line describe, or with -m many."""

import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from src.config.conf_files import check_conf
from src.config.overrides import check_overrides, for_each_member
from src.config.resolve import Resolved, resolve
from src.config.settings import CONF, check_cores, display_name
from src.data.images import Images
from src.display.next_steps import next_steps
from src.display.run_summary import show
from src.errors import Reported, UserError, errors_in_one_line, exit_code, one_line, traceback_wanted
from src.interrupts import RESUMES, Interrupted, interruptible, raise_interrupts
from src.runs.directory import Run
from src.runs.own_code import own_code
from src.runs.provenance import begin_command
from src.runs.record import lacks_probe
from src.runs.state import read_state


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train or resume the run that `cfg` describes, or only show it if it has ended. Return its figures."""
    hydra = HydraConfig.get()
    resolved = resolve(cfg, hydra.runtime.choices)
    settings, names = resolved.settings, resolved.names
    name, alone = display_name(settings, names), hydra.mode == RunMode.RUN
    if cfg.threads > 1:
        check_cores(cfg.threads)
    console = Console(markup=False, highlight=False)  # a path may contain brackets
    images = resolved.load()
    run = Run(resolved.directory)
    anew = run.to_be_cleared(cfg.force)
    if not anew:
        run.check_data(images.sha256, images.shape)
        run.check_code(own_code(settings))
    if cfg.dry_run:
        state = read_state(run)
        if anew or not run.ended:
            from src.training.trainer import Training  # takes seconds to import

            Training(settings, images, cfg.device, cfg.probe)
        console.print(f"{state.status if state and not anew else 'to do':<9} {name}", soft_wrap=True)
        return {}
    if alone or console.is_terminal:
        console.print(f"{name}  in {run.directory}/", soft_wrap=True)  # before the slow imports
        console.file.flush()
    record = run.record()
    if not anew and run.ended:
        once = "by this command or Slurm job; force=true trains a run once for each"
        console.print(f"Trained already {once}." if cfg.force else "Trained already; force=true trains it again.")
        if lacks_probe(record, cfg.probe):
            console.print(
                f"It was trained without probe={str(cfg.probe).lower()}, so its curve lacks the measurements."
            )
    else:
        asked = any(override.startswith("threads=") for override in hydra.overrides.task)
        record = _train(resolved, images, cfg, console, all_cores=alone and not asked)
    show(run, record, console)
    if alone:
        console.print("\n".join(next_steps(str(cfg.output_dir), [])), soft_wrap=True)
    return record["figures"] | {"status": record["status"]}


def _train(resolved: Resolved, images: Images, cfg: DictConfig, console: Console, all_cores: bool) -> dict[str, Any]:
    """Train a run that has not ended or is to be repeated. Return its record."""
    # These imports take seconds, which bad input and ended runs need not wait for.
    from joblib import cpu_count

    from src.training.trainer import Training, set_up_process

    raise_interrupts()
    settings, run, hydra = resolved.settings, Run(resolved.directory), HydraConfig.get()
    set_up_process(cfg.threads, int(cpu_count()) if all_cores else cfg.threads)
    training = Training(settings, images, cfg.device, cfg.probe)
    # Two sweeps may share runs: one waits while the other trains the run.
    with run.locked(wait=hydra.mode == RunMode.MULTIRUN):
        if run.to_be_cleared(cfg.force):  # False if another process of this command has trained it meanwhile
            run.stage()
        if not run.ended:  # another process may have trained it while this one loaded
            run.write_hydra_files(cfg, hydra)
            try:
                training.train_in(run, console, resolved.names)
            except Interrupted as interruption:
                kept = state.epoch if (state := read_state(run)) else 0
                interruption.hint = f"{kept} of {settings.epochs} epochs {RESUMES}"
                if run.staged:
                    interruption.hint = f"no epoch was done; the earlier training in {run.directory} is unchanged"
                raise
            except Exception:
                if run.staged:
                    print(f"{run.directory}: the earlier training is unchanged", file=sys.stderr)
                raise
            finally:
                run.abandon()
        return run.record()  # under the lock, so that no other process can clear the run first


def job(cfg: DictConfig) -> dict[str, Any]:
    """Task function for Hydra. Errors are printed at once: Hydra would hold them until all jobs of a sweep ended."""
    alone = HydraConfig.get().mode == RunMode.RUN
    try:
        for override in HydraConfig.get().overrides.hydra if alone else ():
            if override.lstrip("+").startswith(("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")):
                raise UserError(f"{override}: applies only to a sweep; add -m")
        if alone and cfg.together is not None:
            raise UserError("together: applies only to a sweep; add -m")
        return run(cfg)
    except Exception as error:
        if traceback_wanted() and alone:
            raise
        reason, code = one_line(error), exit_code(error)
        print("".join(traceback.format_exception(error)) if traceback_wanted() else reason, file=sys.stderr)
    if alone:
        sys.exit(code)
    raise Reported(reason)  # not chained: the error's traceback would keep the job's data until the sweep ends


def run_hydra() -> None:
    """Do what `hydra.main` does, but take settings and switches in any order, and report a wrong switch on one line."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --hydra-help lists the switches, and settings have no dashes: lr=0.05")

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args()
    tasks = [args.run, args.multirun, args.cfg is not None, args.info is not None, args.shell_completion]
    if sum(tasks) > 1:
        refuse("--run, --multirun, --cfg, --info, --shell-completion: only one of these can be given")
    if args.resolve and not (args.cfg or args.help):
        refuse("--resolve: needs --cfg or --help")
    if args.experimental_rerun:
        refuse("--experimental-rerun: is not supported")
    if args.multirun and "hydra.mode=RUN" in args.overrides:
        refuse("hydra.mode=RUN: contradicts -m")
    if not (args.help or args.hydra_help or args.shell_completion):
        check_overrides(parsed := OverridesParser.create().parse_overrides(args.overrides))
        args.overrides = for_each_member(parsed)
    check_conf(map(Path, [CONF, *([args.config_dir] if args.config_dir else [])]))
    version.setbase("1.3")
    _run_hydra(args, parser, job, CONF, "config")


@interruptible(f"completed epochs {RESUMES}")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    begin_command()
    with errors_in_one_line():
        run_hydra()


if __name__ == "__main__":
    from src.train import main as importable  # so that other processes can import `job` by name

    importable()
