#!/bin/bash
sudo tee /etc/systemd/system/engine.service > /dev/null <<'EOF'
[Unit]
Description=Engine
[Service]
ExecStart=/opt/vllm/bin/vllm serve mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 2 --swap-space 4
Restart=always
[Install]
WantedBy=multi-user.target
EOF
sudo systemctl enable --now engine
