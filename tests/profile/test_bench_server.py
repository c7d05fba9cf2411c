"""The bench file's server: an address, and secrets by reference alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.errors import ProfileError, UsageError
from conformance.prepare import device_name, prepare, server_options

PROFILE = """\
conformance: 1
device: {vendor: Acme, model: A1, category: inference-server}
runtime:
  adapter: oip
  provider: acme
  encoding: rest-json
  publish: {by: folder, files: {1/model.py: model.py}}
declares: {opsets: {ai.onnx: [13, 21]}, types: [float32]}
"""


def bench(server: str) -> str:
    return f"conformance: 1\nbench: {{server: {{{server}}}}}\n"


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("url: 'ftp://host:1'", "bench.yaml:2:23: a URL is wanted here: http://, https://, grpc:// or grpcs://"),
        ("url: 'http://'", "a URL is wanted here"),
        ("url: 'http://host:0'", "a URL is wanted here"),
        ("url: 'http://host:99999'", "this is no URL"),
        ("url: 'http://user:secret@host'", "secrets are named by token_env or token_file"),
        ("url: 'http://host?token=secret'", "secrets are named by"),
        ("url: 'http://host', token_env: T", "a token would travel in the open: write https://"),
        ("url: 'grpc://host', token_file: T", "a token would travel in the open: write grpcs://"),
        ("url: 'http://localhost', ca_file: ca.pem", "ca_file has no use with http://"),
        ("url: 'https://host', token_env: T, token_file: t", "the token is named twice"),
        ("url: 'https://host', client_key: k", "client_key without client_certificate"),
        ("url: 'https://host', token: secret", "unknown key 'token'"),
        ("token_env: T", "'url' is missing"),
    ],
)
def test_what_is_wrong_with_a_server_is_one_line(write: Callable[..., str], server: str, why: str) -> None:
    profile = write(PROFILE, "server.yaml")
    with pytest.raises(ProfileError) as caught:
        prepare(profile, write(bench(server), "bench.yaml"))
    assert why in str(caught.value)
    assert "user:secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_start_from_the_file_that_names_them(write: Callable[..., str], tmp_path: object) -> None:
    profile = write(PROFILE, "vendor/server.yaml")
    for name in ("lab/ca.pem", "lab/models/keep"):
        write("", name)
    given = "url: 'https://host:1/v', token_env: T, ca_file: ca.pem, repository: models"
    loaded, lab = prepare(profile, write(bench(given), "lab/bench.yaml"))
    assert server_options(loaded, lab) == {
        "server": {
            "url": "https://host:1/v",
            "token_env": "T",
            "ca_file": f"{tmp_path}/lab/ca.pem",
            "repository": f"{tmp_path}/lab/models",
        }
    }
    assert loaded.profile.runtime.publish is not None
    assert device_name(loaded, lab).endswith("https://host:1/v")
    assert lab is not None
    assert lab.bench.bench.settings()["server"] == "https://host:1/v"


def test_a_server_is_needed_and_its_files_too(write: Callable[..., str]) -> None:
    loaded, _ = prepare(write(PROFILE, "server.yaml"))
    with pytest.raises(
        UsageError, match=r"^server.yaml: the runtime oip needs a server; give --bench FILE with bench: "
    ):
        server_options(loaded, None)
    _, lab = prepare("server.yaml", write("conformance: 1\n", "bench.yaml"))
    with pytest.raises(UsageError, match=r"needs a server; bench.yaml names none: add bench: \{server: "):
        server_options(loaded, lab)
    _, lab = prepare("server.yaml", write(bench("url: 'https://h', ca_file: none.pem"), "bench.yaml"))
    with pytest.raises(UsageError, match=r"bench.server.ca_file: there is no 'none.pem' beside this file"):
        server_options(loaded, lab)


def test_other_runtimes_leave_the_server_alone(write: Callable[..., str], minimal: str) -> None:
    loaded, lab = prepare(write(minimal), write(bench("url: 'https://h'"), "bench.yaml"))
    assert server_options(loaded, lab) == {}


def test_how_models_are_published_is_the_adapters_to_check(write: Callable[..., str]) -> None:
    for old, new, why in (
        ("by: folder", "by: pigeon", "'by' cannot be"),
        ("encoding: rest-json", "encoding: soap", "'encoding' cannot be"),
        ("  encoding: rest-json\n", "", "missing required field `encoding`"),
        ("model.py}}", "../secret}}", "'../secret' lies outside the profile's folder"),
        ("  provider: acme\n", "", "missing required field `provider`"),
    ):
        with pytest.raises(ProfileError) as caught:
            prepare(write(PROFILE.replace(old, new), "server.yaml"))
        assert why in str(caught.value), str(caught.value)
