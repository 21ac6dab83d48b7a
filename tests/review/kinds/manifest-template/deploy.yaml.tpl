apiVersion: apps/v1
kind: Deployment
metadata: {name: engine}
spec:
  template:
    spec:
      containers:
      - name: engine
        image: vllm/vllm-openai:latest
        resources:
          limits: {nvidia.com/gpu: "${TP}"}
        command: [python3, -m, vllm.entrypoints.openai.api_server, --model, "${MODEL}", --tensor-parallel-size, "${TP}", --enable-prefix-caching]
        livenessProbe: {httpGet: {path: /health, port: 8000}, initialDelaySeconds: 300, periodSeconds: 15}
        volumeMounts: [{mountPath: /dev/shm, name: dshm}]
      volumes: [{name: dshm, emptyDir: {medium: Memory}}]
