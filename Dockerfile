# m35-plan without its wizard, for pipelines: docker build -t local/m35 . && docker run --rm -i local/m35 review -
FROM python:3.13.7-alpine3.22 AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY scripts/compile_facts.py scripts/
COPY planner planner
COPY hw_specs hw_specs
COPY tui tui
COPY m35_plan m35_plan
RUN python -m venv /opt/m35-plan \
 && /opt/m35-plan/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt . \
 && /opt/m35-plan/bin/pip uninstall --yes --quiet pip

FROM python:3.13.7-alpine3.22
LABEL org.opencontainers.image.title="m35-plan" org.opencontainers.image.licenses="Apache-2.0"
RUN adduser -D -H -u 10001 m35 && rm -rf /usr/local/lib/python3.13/ensurepip /usr/local/lib/python3.13/site-packages/pip*
COPY --from=build /opt/m35-plan /opt/m35-plan
ENV PATH=/opt/m35-plan/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /work
ENTRYPOINT ["m35-plan"]
CMD ["--help"]
