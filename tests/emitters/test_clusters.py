"""Objects for clusters: each obeys its own schema, runs the plan's argv and asks for what the plan needs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from hw_specs.units import GIB
from planner import Deployment, InvalidRequest, emit, emit_files, serve_command
from planner.rendering.emitters.deployment import SECRETS
from planner.rendering.emitters.image import ANY_ADDRESS, host_memory_need, host_needs, startup_s
from planner.rendering.emitters.pod import drain_command
from planner.rendering.multi_node import HEAD_ADDRESS, node_commands
from planner.review import review

from .objects import objects, of_kind, pods, variables
from .plans import ONE_NODE, REPLICAS, SPANNING, planned

KINDS = ("kubernetes", "lws", "kserve", "kserve-llm")


EVERYTHING = Deployment(
    name="chat",
    namespace="llm",
    image="registry.internal:5000/vllm:mine",
    storage_class="fast",
    secret="keys",
    pull_secret="registry",
    env=(("VLLM_LOGGING_LEVEL", "DEBUG"), ("NOTE", "$(HOME)")),
    labels=(("team", "search"),),
    port=9001,
)


def engines(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [container for document in found.values() for pod in pods(document) for container in pod["containers"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gpus", ONE_NODE)
def test_one_node(kind: str, gpus: str) -> None:
    answer = planned(gpus, ONE_NODE[gpus])
    found = objects(emit(kind, answer))
    (container,) = engines(found)
    assert container["command"] == ["vllm", "serve"]
    assert container["args"] == list(serve_command(answer, host=ANY_ADDRESS, port=8000).engine_args)
    gpu = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}[answer.gpus.spec.vendor]
    settings = answer.settings
    used = str(settings.tensor_parallel_size * settings.pipeline_parallel_size * settings.replicas)
    needs = host_needs(answer)
    assert container["resources"]["limits"] == {gpu: used}
    assert container["resources"]["requests"] == {gpu: used, "cpu": str(needs.cpus), "memory": f"{needs.memory_gib}Gi"}
    assert needs.cpus >= 2 + int(used)
    assert needs.memory_gib > host_memory_need(answer)[0] / GIB + needs.shared_memory_gib, "room beside what is needed"
    set_by_us = variables(container)
    assert serve_command(answer).env.items() <= set_by_us.items()
    assert set_by_us["HOME"] in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert set_by_us["USER"]
    references = [item["valueFrom"]["secretKeyRef"] for item in container["env"] if "valueFrom" in item]
    assert {one["key"] for one in references} == set(SECRETS)
    assert not any(one.get("optional") for one in references), "a server without its key must not start"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= startup_s(answer)
    for document in found.values():
        for pod in pods(document):
            mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
            assert {volume["name"] for volume in pod["volumes"]} == mounted
            assert pod["enableServiceLinks"] is False
            assert pod["tolerations"] == [{"key": gpu, "operator": "Exists", "effect": "NoSchedule"}]
            assert pod["terminationGracePeriodSeconds"] > 300


def test_a_rollout_may_take_as_long_as_a_start() -> None:
    answer = planned("8xH200")
    found = objects(emit("kubernetes", answer))
    spec = of_kind(found, "Deployment")["spec"]
    assert spec["progressDeadlineSeconds"] > startup_s(answer)
    assert spec["strategy"] == {"type": "Recreate"}
    assert of_kind(found, "Service")["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert of_kind(found, "PodDisruptionBudget")["spec"]["selector"] == spec["selector"]
    open_port, among_themselves = of_kind(found, "NetworkPolicy")["spec"]["ingress"]
    assert open_port["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert among_themselves == {"from": [{"podSelector": spec["selector"]}]}
    claim = of_kind(found, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"]
    assert int(claim.removesuffix("Gi")) * 2**30 > 133_605_834_656


def test_kserve_asks_for_no_second_set_of_gpus() -> None:
    predictor = of_kind(objects(emit("kserve", planned("8xH200"))), "InferenceService")["spec"]["predictor"]
    assert predictor["deploymentStrategy"] == {"type": "Recreate"}
    rollout = of_kind(objects(emit("kserve-llm", planned("8xH200"))), "LLMInferenceService")["spec"]
    assert rollout["rolloutStrategy"]["maxSurge"] == 0


@pytest.mark.parametrize("gpus", ["1xMI300X", "8xH100", "1xGH200-96", "8xMI325X"])
def test_nodes_are_found_by_every_label_of_a_card(gpus: str) -> None:
    answer = planned(gpus, {"language_model_only": True})
    spec = answer.gpus.spec
    (pod,) = pods(of_kind(objects(emit("kubernetes", answer, unfit=True)), "Deployment"))
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    accepted = {(rule["key"], value) for term in terms for rule in term["matchExpressions"] for value in rule["values"]}
    if spec.vendor == "nvidia":
        assert accepted == {("nvidia.com/gpu.product", name.replace(" ", "-")) for name in spec.driver_names}
    else:
        assert {("amd.com/gpu.device-id", f"{number:04x}") for number in spec.pci_device_ids} <= accepted
    assert all(len(term["matchExpressions"]) == 1 for term in terms), "terms are alternatives, rules in one are not"


SLICE = "H200 MIG 7g.141gb"


SHORT = {"max_model_len": 4096, "language_model_only": True}


@pytest.mark.parametrize("kind", [*KINDS, "llm-d", "production-stack"])
@pytest.mark.parametrize(
    ("strategy", "resource", "label"),
    [
        ("mixed", "nvidia.com/mig-7g.141gb", "NVIDIA-H200"),
        ("single", "nvidia.com/gpu", "NVIDIA-H200-MIG-7g.141gb"),
    ],
)
def test_a_slice_is_asked_for_as_the_strategy_names_it(kind: str, strategy: str, resource: str, label: str) -> None:
    answer = planned(SLICE, SHORT)
    where = Deployment(mig_strategy=strategy)  # type: ignore[arg-type]
    text = "\n---\n".join(emit_files(kind, answer, where, unfit=True).values())
    named = set(re.findall(r"nvidia\.com/(?:gpu|mig-[\w.]+)(?=: [\"']?1|$)", text, re.M))
    asked = resource in named or f"requestGPUType: {resource}" in text
    assert asked, "the slice is not asked for"
    assert re.search(rf"^ +- {label}$", text, re.M)
    assert f"strategy must be {strategy}" in text
    (server,) = review(text if kind != "llm-d" else emit("kubernetes", answer, deployment=where, unfit=True)).servers
    assert server.gpus == f"1x{SLICE}", "the review reads the slice back"


def test_a_slice_with_media_has_a_name_that_kubernetes_takes() -> None:
    answer = planned("H100 MIG 1g.10gb+me", SHORT)
    (container,) = engines(objects(emit("kubernetes", answer, unfit=True)))
    assert container["resources"]["limits"] == {"nvidia.com/mig-1g.10gb.me": "1"}


def test_a_strategy_without_slices_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="whole GPUs"):
        emit("kubernetes", planned("8xH200"), deployment=Deployment(mig_strategy="single"))
    with pytest.raises(InvalidRequest, match="neither"):
        Deployment(mig_strategy="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["shell", "docker", "compose", "systemd"])
def test_on_the_machine_itself_the_slice_is_the_users_to_name(kind: str) -> None:
    said = "CUDA_VISIBLE_DEVICES=MIG-UUID"
    assert said in emit(kind, planned(SLICE, SHORT), unfit=True)
    assert said not in emit(kind, planned("8xH200"))
    answer = planned(SLICE, SHORT)
    known = dataclasses.replace(answer, gpus=dataclasses.replace(answer.gpus, env=(("CUDA_VISIBLE_DEVICES", "MIG-1"),)))
    assert said not in emit(kind, known, unfit=True)


@pytest.mark.parametrize("gpus", REPLICAS)
def test_replicas_on_nodes_are_pods_of_their_own(gpus: str) -> None:
    answer = planned(gpus, REPLICAS[gpus])
    first = node_commands(answer, host=ANY_ADDRESS, port=8000)[0].command
    assert first is not None
    deployment = of_kind(objects(emit("kubernetes", answer)), "Deployment")["spec"]
    group = of_kind(objects(emit("lws", answer)), "LeaderWorkerSet")["spec"]
    assert deployment["replicas"] == group["replicas"] == 2
    assert group["leaderWorkerTemplate"]["size"] == 1
    assert "leaderTemplate" not in group["leaderWorkerTemplate"]
    worker = group["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]
    for container in (deployment["template"]["spec"]["containers"][0], worker):
        assert container["args"] == list(first.engine_args)
        assert "startupProbe" in container
        assert not [word for word in container["args"] if "LWS" in word or HEAD_ADDRESS in word]


def replayed(args: list[str], environment: dict[str, str]) -> list[str]:
    """Arguments as the kubelet gives them to a container."""
    return [
        re.sub(r"\$\$|\$\((\w+)\)", lambda hit: "$" if hit[0] == "$$" else environment[hit[1]], word) for word in args
    ]


@pytest.mark.parametrize("gpus", ["2x8xH200", "4x8xH200"])
def test_a_leader_worker_set_replayed_is_what_each_node_runs(gpus: str) -> None:
    answer = planned(gpus, SPANNING["2x8xH200"])
    nodes = node_commands(answer, head_address="10.0.0.1", host=ANY_ADDRESS, port=8000)
    spec = of_kind(objects(emit("lws", answer)), "LeaderWorkerSet")["spec"]
    template = spec["leaderWorkerTemplate"]
    assert spec["replicas"] * template["size"] == len(nodes) == answer.gpus.nodes
    leader, worker = (template[role]["spec"]["containers"][0] for role in ("leaderTemplate", "workerTemplate"))
    for rank, container in enumerate((leader, worker)):
        command = nodes[rank].command
        assert command is not None
        given = {"LWS_LEADER_ADDRESS": "10.0.0.1", "LWS_WORKER_INDEX": str(rank)}
        expected = ["10.0.0.1" if word.startswith("10.0.0.1") else word for word in command.engine_args]
        assert replayed(container["args"], given) == expected
    assert "startupProbe" in leader
    assert "startupProbe" not in worker
    front = of_kind(objects(emit("lws", answer)), "Service")["spec"]["selector"]
    assert front["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


@pytest.mark.parametrize("kind", ["kubernetes", "kserve", "kserve-llm", "llm-d", "production-stack"])
def test_one_pod_cannot_span_nodes(kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        emit(kind, planned("2x8xH200", SPANNING["2x8xH200"]))
    assert "lws" in (caught.value.hint or "")


def test_every_kind_understands_the_same_words() -> None:
    for kind in KINDS:
        said = dataclasses.replace(EVERYTHING, port=8000) if kind == "kserve-llm" else EVERYTHING
        found = objects(emit(kind, planned("8xH200"), deployment=said))
        for document in found.values():
            assert document["metadata"]["name"].startswith("chat")
            assert document["metadata"]["namespace"] == "llm"
            assert document["metadata"]["labels"]["team"] == "search"
            for pod in pods(document):
                assert pod["imagePullSecrets"] == [{"name": "registry"}]
        (container,) = engines(found)
        assert container["image"] == "registry.internal:5000/vllm:mine"
        assert variables(container)["VLLM_LOGGING_LEVEL"] == "DEBUG"
        assert variables(container)["NOTE"] == "$$(HOME)", "Kubernetes would put its own HOME there"
        assert {item["valueFrom"]["secretKeyRef"]["name"] for item in container["env"] if "valueFrom" in item} == {
            "keys"
        }
        assert container["args"][container["args"].index("--port") + 1] == str(said.port)
        assert container["ports"][0]["containerPort"] == said.port
        assert of_kind(found, "PersistentVolumeClaim")["spec"]["storageClassName"] == "fast"


def test_a_local_checkpoint_is_a_claim_that_the_user_fills() -> None:
    answer = planned("8xH200")
    local = dataclasses.replace(answer, model=dataclasses.replace(answer.model, name="/data/3.5-128b$(X)"))
    for kind in ("kubernetes", "kserve", "lws"):
        text = emit(kind, local)
        found = objects(text)
        assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"]) for one in found.values())
        (container,) = engines(found)
        (mount,) = (one for one in container["volumeMounts"] if one["name"] == "model")
        assert replayed(container["args"][:1], {}) == [mount["mountPath"]]
        assert mount["readOnly"] is True
        assert of_kind(found, "PersistentVolumeClaim")["metadata"]["name"].endswith("-model")
        assert "must hold the files of /data/3.5-128b" in text
    with pytest.raises(InvalidRequest, match="folder"):
        emit("kserve-llm", local)


@pytest.mark.parametrize("version", ["0.33.0", "0.31.0"])
def test_a_release_that_cannot_chat_is_given_the_companion_that_can(version: str) -> None:
    answer = planned("8xH200", {"vllm_version": version})
    (pod,) = pods(of_kind(objects(emit("kubernetes", answer)), "Deployment"))
    pins = [" ".join(one["command"]) for one in pod.get("initContainers", [])]
    assert [("mistral_common==1.12.0" in one) for one in pins] == ([True] if version == "0.33.0" else [])
    assert ("PYTHONPATH" in variables(pod["containers"][0])) == bool(pins)


class Metrics(BaseHTTPRequestHandler):
    """A server with requests in flight that are answered one by one."""

    left = 3

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f'vllm:num_requests_running{{engine="0"}} {float(Metrics.left)}\n'.encode())
        Metrics.left = max(0, Metrics.left - 1)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_pod_waits_for_its_last_answer() -> None:
    server = HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    python, option, script = drain_command(server.server_port)
    assert (python, option) == ("python3", "-c")
    assert "time.sleep(15)" in script
    quick = script.replace("time.sleep(15)", "").replace("time.sleep(2)", "time.sleep(0.01)")
    done = subprocess.run([sys.executable, "-c", quick], capture_output=True, text=True, timeout=60, check=False)
    server.shutdown()
    assert (done.returncode, Metrics.left) == (0, 0), done.stderr
