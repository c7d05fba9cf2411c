"""The command line: thin. Every command loads what it needs when it is called, so that `--help` is quick."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import click

from conformance import __version__
from conformance.errors import EXIT_HARNESS, ConformanceError, UsageError
from conformance.levels import FULL, LEVELS

DEFAULT_PROFILE = "reference-cpu"


class _Group(click.Group):
    """Turns the package's errors into one line on standard error and the right exit code."""

    def invoke(self, ctx: click.Context) -> object:
        if sys.stdout is None:  # closed by whoever started us: the exit code and the run folder still tell
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it stays open to the end
        try:
            return super().invoke(ctx)
        except ConformanceError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            sys.stderr.close()  # `conformance list | head` is no error of ours; a run without its verdict is
            sys.exit(EXIT_HARNESS if ctx.invoked_subcommand == "run" else 0)
        except OSError as error:
            if error.filename is not None:
                raise  # a file of ours that nobody foresaw: a bug, and told as one
            click.echo(f"error: standard output: {error.strerror}", err=True)
            sys.exit(EXIT_HARNESS)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conformance")
def main() -> None:
    """Test an AI device against its YAML profile and say whether it conforms.

    \b
    Examples:
      conformance run                              the built-in reference device, onnxruntime on the CPU
      conformance init --category accelerator-card > my-card.yaml
      conformance check my-card.yaml
      conformance run my-card.yaml --level smoke
      conformance explain IF-001

    \b
    Exit codes of `run`: 0 conformant (or a clean partial run), 10 conformant with waivers, 20 non-conformant,
    30 incomplete, 2 usage or profile error, 70 harness or host error. See docs/outcomes.md.
    """


@main.command()
@click.argument("profile", default=DEFAULT_PROFILE)
@click.option("--bench", type=click.Path(dir_okay=False), help="Bench file of the lab: interpreter, workers, waivers.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder; made if missing. Default: conformance-runs/…",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default=FULL,
    show_default=True,
    help="smoke: one case per operator, never certifiable. certify: timed cases for as long as a certificate asks.",
)
@click.option(
    "--case", "globs", multiple=True, metavar="GLOB", help="Run only cases whose id matches; may be given again."
)
@click.option(
    "--challenge",
    metavar="TEXT",
    help="The certifier's text: inputs are drawn from it, and not from seeds that everybody can read.",
)
@click.option(
    "--bisect/--no-bisect",
    "is_searching",
    default=True,
    show_default=True,
    help="After a model case failed, search the first wrong node.",
)
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted run from its journal (the newest one, or that of --out)."
)
def run(
    profile: str,
    bench: str | None,
    out: Path | None,
    level: str,
    globs: tuple[str, ...],
    challenge: str | None,
    is_searching: bool,
    resume: bool,
) -> None:
    """Run the cases of PROFILE and give a verdict.

    PROFILE is a path to a YAML file or the name of a shipped profile. The run folder gets junit.xml, run.json and
    cases.jsonl; Ctrl-C ends the run early with all three valid.

    \b
    Examples:
      conformance run
      conformance run my-card.yaml --bench lab.yaml --out runs/today
      conformance run my-card.yaml --case 'operators/ai.onnx.MatMul-*'
      conformance run my-card.yaml --challenge 'spring audit, lot 7'
      conformance run my-card.yaml --out runs/today --resume
    """
    from conformance import conduct
    from conformance.reference.challenges import read_challenge
    from conformance.reports import write_all
    from conformance.reports.console import make_console, render_summary

    if out is not None and not str(out).strip("."):
        raise UsageError("--out needs a folder of its own; give it a name, such as --out runs/today")
    request = conduct.Request(
        profile, bench, out, level, " ".join(globs), resume, "" if challenge is None else read_challenge(challenge)
    )
    console = make_console(sys.stdout)
    result, folder = conduct.run(request, console)
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # all is known: what is left takes moments, and must not be lost
    try:
        write_all(result, folder)
    finally:  # a report that fails costs the exit code, not the sight of the verdict
        render_summary(result, sys.stdout, folder)
        signal.signal(signal.SIGINT, before)
    if is_searching and not result.info.interrupted:
        from conformance.diagnose import search_failed

        for line in search_failed(
            request.profile, request.bench, request.challenge, result.records, folder, _tell_search
        ):
            click.echo(line)
    sys.exit(result.verdict.exit_code)


def _tell_search(what: str) -> None:
    click.echo(what, err=True)


@main.command()
@click.argument("case_id", metavar="CASE")
@click.argument("profile", default=DEFAULT_PROFILE)
@click.option("--bench", type=click.Path(dir_okay=False), help="Bench file of the lab.")
@click.option("--challenge", metavar="TEXT", help="The challenge of the run in which the case failed.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the piece is written. Default: conformance-failures/…",
)
def bisect(case_id: str, profile: str, bench: str | None, challenge: str | None, out: Path | None) -> None:
    """Search the first wrong node of a model case of PROFILE that failed, and write the smallest piece that shows it.

    The piece is an ONNX test folder (model.onnx, test_data_set_0/), which any runtime's test runner takes.

    \b
    Examples:
      conformance bisect models/encoder/float32/agreement my-card.yaml
      conformance bisect models/cnn-shapes/float16/agreement my-card.yaml --out for-the-vendor
    """
    from conformance.diagnose import diagnose, folder_of, tell
    from conformance.reference.challenges import read_challenge

    place = out or Path("conformance-failures") / folder_of(case_id)
    nonce = "" if challenge is None else read_challenge(challenge)
    found = diagnose(profile, bench, nonce, case_id, place, _tell_search)
    click.echo("\n".join(tell(case_id, found, place)))


@main.command()
@click.argument("profile")
def check(profile: str) -> None:
    """Check a profile, category or bench file without running anything.

    \b
    Examples:
      conformance check my-card.yaml
      conformance check reference-cpu
    """
    from conformance.prepare import check_options, meters_of
    from conformance.profile.loader import check_profile

    for line in check_profile(profile, on_device=check_options, on_bench=meters_of):
        click.echo(line)


@main.command()
@click.argument("profile", required=False)
@click.option("--bench", type=click.Path(dir_okay=False), help="Bench file of the lab.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
def doctor(profile: str | None, bench: str | None, is_json: bool) -> None:
    """Say what this host can and cannot measure for PROFILE, and what mends each; without PROFILE, for any device.

    It opens no device and changes nothing. The exit code is 0, or 1 where something is missing or wrong that a MUST of the
    profile's category needs (without a profile: that every run needs).

    \b
    Examples:
      conformance doctor
      conformance doctor my-card.yaml --bench lab.yaml
      conformance doctor my-card.yaml --json > doctor.json
    """
    from conformance.doctor import examine, exit_code
    from conformance.doctor.port import Host
    from conformance.doctor.support.subject import Subject
    from conformance.doctor.support.telling import tell, to_json

    subject = Subject.load(profile, bench)
    done = examine(Host(), subject)
    if is_json:
        click.echo(to_json(done, subject))
    else:
        tell(done, subject, sys.stdout)
    sys.exit(exit_code(done, subject))


@main.command("list")
@click.argument("profile", default=DEFAULT_PROFILE)
@click.option("--level", type=click.Choice(LEVELS), default=FULL, show_default=True)
@click.option("--case", "globs", multiple=True, metavar="GLOB", help="Only cases whose id matches; may be given again.")
def list_cases(profile: str, level: str, globs: tuple[str, ...]) -> None:
    """List each case of PROFILE, its requirements, and why it applies (tab-separated).

    \b
    Examples:
      conformance list
      conformance list my-card.yaml --case 'operators/*' | wc -l
    """
    from conformance.prepare import make_plan, prepare

    loaded, _ = prepare(profile)
    plan, _ = make_plan(loaded, level=level, selection=" ".join(globs))
    for planned in plan.cases:
        case = planned.case
        click.echo(f"{case.id}\t{','.join(case.requirements)}\t{case.basis}\t{case.why}")
    for state in plan.states:
        if state.unplanned and not globs:
            click.echo(f"-\t{state.requirement.id}\tnot planned\t{state.unplanned}")
    click.echo(
        f"{len(plan.cases)} cases, {plan.not_selected} not selected, {len(plan.pinned)} invalid upstream", err=True
    )


@main.command()
@click.argument("key", metavar="ID")
@click.argument("profile", default=DEFAULT_PROFILE)
def explain(key: str, profile: str) -> None:
    """Explain a requirement or a case of PROFILE: where it comes from, why it applies, what it uses, how it is judged.

    ID is the id of a requirement, as the summary of a run shows it, or of a case, as `conformance list` shows it.

    \b
    Examples:
      conformance explain IF-001
      conformance explain PL-001 my-card.yaml
      conformance explain operators/ai.onnx.Conv-22/float32/test_basic_conv_with_padding
    """
    from conformance.explain import Known
    from conformance.explain import explain as explained
    from conformance.prepare import make_plan, prepare

    loaded, _ = prepare(profile)
    plan, context = make_plan(loaded)
    for line in explained(key, Known(profile, loaded, plan, context.loaded_suite)):
        click.echo(line)


@main.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """Print the JSON schema of a file format, or the names of all of them.

    \b
    Examples:
      conformance schema
      conformance schema device-profile > device.schema.json
    """
    from conformance.errors import UsageError
    from conformance.profile.loader import json_schemas
    from conformance.reports import schemas

    known = json_schemas() | schemas()
    if name is None:
        click.echo("\n".join(sorted(known)))
        return
    if name not in known:
        raise UsageError(f"there is no schema '{name}'; known are {', '.join(sorted(known))}")
    click.echo(json.dumps(known[name], indent=2, ensure_ascii=False))


@main.command()
@click.option("--category", required=True, help="Shipped category, such as accelerator-card.")
def init(category: str) -> None:
    """Print a commented device profile for a category, ready to be filled in.

    \b
    Example:
      conformance init --category accelerator-card > my-card.yaml
    """
    from conformance.profile.loader import init_profile

    click.echo(init_profile(category), nl=False)


@main.command()
@click.option("--quick", is_flag=True, help="A small part, in about a minute.")
@click.option("--seed", type=click.IntRange(0, 10**6), default=0, show_default=True, help="Draws inputs and cases.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes side by side.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the matrix as JSON.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a Markdown page.")
@click.option(
    "--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture (.svg, .png, .pdf)."
)
def selftest(
    quick: bool, seed: int, workers: int, json_file: Path | None, markdown: Path | None, plot_file: Path | None
) -> None:
    """Show which defects the checks of numerics catch, and how often they refuse a correct device.

    Simulated devices compute reference models and operator cases, right and with one defect at a time. Ctrl-C ends it early
    and tells what is done. The exit code is 0 unless a correct device was refused (20) or it was interrupted (30).

    \b
    Examples:
      conformance selftest --quick
      conformance selftest --markdown docs/selftest.md --json selftest.json
      conformance selftest --seed 7 --plot selftest.svg
    """
    from conformance.selftest import entry

    files = entry.Files(json_file, markdown, plot_file)
    sys.exit(entry.main(files, is_quick=quick, seed=seed, workers=workers))


if __name__ == "__main__":
    main()
