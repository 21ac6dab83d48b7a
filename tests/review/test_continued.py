"""Commands over several lines, in the forms that are not shell: every flag counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.cli import main
from planner.review import review

MODEL = "mistralai/Mistral-Medium-3.5-128B"
MAKE = (
    f"serve:\n\tvllm serve {MODEL} \\\n\t--tensor-parallel-size 8 \\\n\t  --max-model-len 32768 \\\n    --port 8001\n"
)
SUPERVISOR = f"[program:llm]\ncommand=vllm serve {MODEL}\n  --tensor-parallel-size 8\n  --max-model-len 32768\n"
HEREDOC = f"""FROM vllm/vllm-openai:v0.33.0
RUN python3 <<'EOF'
from huggingface_hub import snapshot_download
CMD x
EOF
CMD ["--model", "{MODEL}", "--tensor-parallel-size", "8"]
"""
FENCES = f"````text\n~~~\n````\n\nStart it with `vllm serve {MODEL} --tensor-parallel-size 8`.\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("Makefile", MAKE), ("supervisord.conf", SUPERVISOR), ("Dockerfile", HEREDOC), ("README.md", FENCES)],
)
def test_all_flags_of_a_command_count(name: str, text: str) -> None:
    (server,) = review(text, name=name, gpus=parse_gpus("8xH100")).servers
    assert server.verdict == "fits"
    assert server.plan is not None and server.plan.settings.tensor_parallel_size == 8


def test_a_secret_of_the_env_file_is_not_said_to_stand_in_the_manifest() -> None:
    compose = f"""services:
  llm:
    image: vllm/vllm-openai:v0.33.0
    command: ["--model", "{MODEL}", "--tensor-parallel-size", "8"]
    environment:
      HF_TOKEN: ${{HF_TOKEN}}
"""
    beside: Callable[[str], str | None] = {".env": "HF_TOKEN=hf_abcdefghijkl\n"}.get
    found = review(compose, name="compose.yaml", gpus=parse_gpus("8xH100"), beside=beside)
    assert "secret-in-file" not in [one.code for server in found.servers for one in server.findings]


def test_no_file_outside_the_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "size.env").write_text("TP=3\n")
    (inside / "size.env").write_text("TP=5\n")
    (inside / "linked.env").symlink_to(outside / "size.env")
    for named in ("../outside/size.env", "linked.env"):
        script = inside / "start.sh"
        script.write_text(f"source {named}\nvllm serve {MODEL} --tensor-parallel-size $TP\n")
        main(["review", "--gpus", "8xH100", str(script)])
        said = capsys.readouterr().out
        assert "the value of --tensor-parallel-size is not known" in " ".join(said.split())
