"""What a bench file says of the lab's machines: the other host, and the commands that bring a device back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conformance.errors import ProfileError
from conformance.execution.ssh import command
from conformance.prepare import commands_of, count_workers, device_name, make_launch, prepare, remote_of
from conformance.profile.bench import Bench, BenchFile
from conformance.profile.loader import check_profile, load_bench

FULL = """\
conformance: 1
bench:
  transport: ssh
  ssh: {host: lab-7.example.org, user: tester, port: 2222, identity_file: keys/id, known_hosts_file: keys/known 100%}
  python: /opt/acme/bin/python
  workdir: /data/work
  env: {ACME_TOKEN: secret}
"""
Write = Callable[..., str]


@pytest.fixture
def full(write: Write) -> str:
    write("", "keys/id")
    write("", "keys/known 100%")
    return write(FULL, "bench.yaml")


def test_the_other_host_is_what_the_file_says(full: str, tmp_path: Path) -> None:
    loaded = load_bench(full)
    remote = remote_of(loaded, {"A": "1"})

    assert loaded.python is None, "it is not on this host"
    assert remote is not None
    assert remote.address.name == "tester@lab-7.example.org:2222"
    assert (remote.python, remote.workdir, remote.env) == ("/opt/acme/bin/python", "/data/work", {"A": "1"})
    assert remote.address.identity_file == str(tmp_path / "keys/id")
    settings = loaded.bench.bench.settings()
    assert (settings["ssh"], settings["env"]) == ("tester@lab-7.example.org:2222", "ACME_TOKEN")
    assert "secret" not in str(settings)
    told = check_profile(full)
    assert "transport ssh to tester@lab-7.example.org:2222" in told[0]
    assert told[1] == "interpreter of the child: /opt/acme/bin/python"


def test_the_client_is_told_everything_and_asks_nobody(full: str, tmp_path: Path) -> None:
    remote = remote_of(load_bench(full), {})
    assert remote is not None
    words = command(remote)

    assert words[1:6] == ["-T", "-a", "-x", "-F", "none"]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes", "PermitLocalCommand=no",
                   "IdentitiesOnly=yes", f'IdentityFile="{tmp_path}/keys/id"',
                   f'UserKnownHostsFile="{tmp_path}/keys/known 100%%"', "GlobalKnownHostsFile=/dev/null"):  # fmt: skip
        assert words[words.index(option) - 1] == "-o"
    assert words[-6:] == [
        "2222", "-l", "tester", "--", "lab-7.example.org",
        "exec /opt/acme/bin/python -P -m conformance.execution.relay",
    ]  # fmt: skip


def test_what_the_remote_shell_reads_is_quoted(write: Write) -> None:
    text = "conformance: 1\nbench: {transport: ssh, ssh: {host: h}, python: '/opt/a b; rm -rf $HOME/python'}\n"
    remote = remote_of(load_bench(write(text, "b.yaml")), {})
    assert remote is not None
    assert command(remote)[-1] == "exec '/opt/a b; rm -rf $HOME/python' -P -m conformance.execution.relay"


def test_a_child_there_gets_nothing_of_our_environment(full: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OURS", "1")
    loaded, bench = prepare("reference-cpu", full)
    launch = make_launch(loaded, bench, tmp_path / "scratch")

    assert launch.remote is not None
    assert launch.remote.env == {"ORT_DISABLE_TELEMETRY": "1", "ACME_TOKEN": "secret"}
    assert launch.python == "/opt/acme/bin/python"
    assert device_name(loaded, bench) == f"{device_name(loaded)}@lab-7.example.org:2222"


@pytest.mark.parametrize(
    ("bench", "why"),
    [
        ("transport: ssh", "2:20: transport ssh needs the host"),
        ("ssh: {host: h}", "'ssh' is for transport: ssh, and the transport is local"),
        ("workdir: /tmp", "'workdir' is for transport: ssh, and the transport is local"),
        ("transport: ssh, ssh: {host: -oProxyCommand=x}", "a host is a name or an address"),
        ("transport: ssh, ssh: {host: 'a b'}", "a host is a name or an address"),
        ("transport: ssh, ssh: {host: h, user: -l}", "a user's name holds"),
        ("transport: ssh, ssh: {host: h, port: 0}", "it must be at least 1"),
        ("transport: ssh, ssh: {host: h, identity_file: -k}", "would be taken for an option"),
        ("transport: ssh, ssh: {host: h, identity_file: '$HOME/k'}", "give the file another name"),
        ("transport: ssh, ssh: {host: h, identity_file: none/such}", "there is no file 'none/such' beside this file"),
        ("transport: ssh, ssh: {host: h}, python: -c", "would be taken for an option"),
        ("transport: ssh, ssh: {host: h}, server: {url: 'http://s'}", "an inference server is asked from this host"),
        ("hooks: {reset: []}", "reset"),
        ("hooks: {reset: 'off'}", "reset"),
        ("hooks: {reset: [./no/such]}", "there is no program './no/such' that can be run beside this file"),
        ("hooks: {reset: [a], timeout_s: 0}", "timeout_s"),
        ("hooks: {restart: [a]}", "unknown key 'restart'"),
        ("crash_budget: -1", "it must be at least 0"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line(write: Write, bench: str, why: str) -> None:
    with pytest.raises(ProfileError) as error:
        load_bench(write(f"conformance: 1\nbench: {{{bench}}}\n", "bench.yaml"))
    assert any(why in each for each in error.value.defects), error.value.defects


def test_hooks_are_lists_of_words_and_take_the_device_from_everybody(write: Write, tmp_path: Path) -> None:
    text = "conformance: 1\nbench: {workers: 4, crash_budget: 3, hooks: {reset: [outlet, '7', off on], settle_s: 2}}\n"
    loaded = load_bench(write(text, "bench.yaml"))
    commands = commands_of(loaded)

    assert (commands.reset, commands.power_cycle) == (("outlet", "7", "off on"), ())
    assert (commands.folder, commands.settle_s, commands.timeout_s) == (tmp_path, 2.0, 60.0)
    assert count_workers(loaded) == 1


def test_words_of_hooks_are_not_published(write: Write) -> None:
    def told(words: str) -> str:
        text = f"conformance: 1\nbench: {{hooks: {{reset: {words}, power_cycle: [./off, 'x']}}}}\n"
        (Path(write(text, "bench.yaml")).parent / "off").write_text("")
        (Path(write(text, "bench.yaml")).parent / "off").chmod(0o755)
        return load_bench(write(text, "bench.yaml")).bench.bench.settings()["hooks"]

    first, other = told("[/usr/bin/env, curl, -u, 'user:hunter2']"), told("[/usr/bin/env, curl, -u, 'user:hunter3']")

    assert re.fullmatch(
        r"reset: env \(words: sha256 [0-9a-f]{16}\); power_cycle: off \(words: sha256 [0-9a-f]{16}\)", first
    )
    assert first != other
    assert first == told("[/usr/bin/env, curl, -u, 'user:hunter2']")


@pytest.mark.parametrize(
    "keys",
    [
        "unit_serial: '2'",
        "env: {CARD: '4'}",
        "env: {CARD: '3', MORE: ''}",
        "python: env/python",
        "server: {url: 'https://a:1'}",
        "transport: ssh, ssh: {host: a}",
        "transport: ssh, ssh: {host: b}",
        "transport: ssh, ssh: {host: a, user: u}",
        "transport: ssh, ssh: {host: a}, workdir: /var/tmp",
    ],
)
def test_what_decides_which_device_is_tested_is_in_the_digest(keys: str) -> None:
    digests = {
        BenchFile.model_validate({"conformance": 1, "bench": yaml.safe_load(f"{{{one}}}")}).bench.digest()
        for one in (keys, "", "env: {CARD: '3'}", "transport: ssh, ssh: {host: c}")
    }

    assert len(digests) == 4


def test_who_runs_it_is_not_in_the_digest() -> None:
    keys = {"lab": "L", "operator": "O", "ambient_c": 20.0, "workers": 2, "crash_budget": 3}
    given = Bench.model_validate(keys | {"hooks": {"reset": ["a"]}})

    assert given.digest() == Bench().digest()
    assert given.digest("/a/python") != given.digest("/b/python")


def test_a_module_is_a_name_and_no_path(write: Write) -> None:
    text = """\
conformance: 1
device: {vendor: A, model: B, category: host-reference}
runtime: {adapter: onnx-backend, module: ..x}
declares: {opsets: {ai.onnx: [13, 21]}, types: [float32]}
"""
    with pytest.raises(ProfileError, match="the name of a Python module is wanted here"):
        prepare(write(text, "device.yaml"))
