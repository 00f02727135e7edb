# One image for every service; the command selects it: `docker run vedette worker`, `docker run vedette notify` …
# The base images are arguments, so that a mirror or a hardened base can take their place.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
# LightGBM needs OpenMP's runtime; which patch release of it makes no difference.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PATH=/opt/vedette/bin:$PATH
WORKDIR /src
# Dependencies change less often than the code, so they have a layer of their own. Versions come from the pins.
COPY pyproject.toml requirements/dev.txt scripts/image-requirements ./
# Besides the extras, the mail server of deployments with simulated payments.
ARG EXTRAS="archive iso postgres"
RUN python3 -m venv /opt/vedette \
    && python3 image-requirements ${EXTRAS} > /tmp/requirements.txt \
    && pip install --quiet --only-binary :all: --constraint dev.txt --requirement /tmp/requirements.txt aiosmtpd
COPY . .
RUN pip install --quiet --no-deps . \
    && mkdir -p /opt/vedette/share \
    && cp -r models/demo /opt/vedette/share/model \
    && cp decisions/policy.yaml deploy/compose/routing.yaml deploy/compose/make-secrets deploy/compose/inbox /opt/vedette/share/ \
    && cp deploy/compose/entrypoint deploy/compose/healthcheck /opt/vedette/bin/
# What the image contains, in CycloneDX's form, is written into it by a tool that does not become a part of it.
RUN python3 -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --quiet --constraint dev.txt cyclonedx-bom \
    && /opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/vedette/share/sbom.cdx.json /opt/vedette/bin/python
# Out go symbols, headers, tests, pip, and the parts of Arrow for its own RPC and for object stores; DuckDB and Delta Lake
# have readers of their own. Vendored libraries (*.libs) were patched by their makers and are left as they are.
RUN rm -r /opt/vedette/lib/python3*/site-packages/pip /opt/vedette/bin/pip* \
    && rm -rf /opt/vedette/lib/python3*/site-packages/setuptools* /opt/vedette/lib/python3*/site-packages/pkg_resources \
        /opt/vedette/lib/python3*/site-packages/*distutils* \
    && find /opt/vedette/lib -type d \( -name tests -o -name include -o -name __pycache__ \) -prune -exec rm -rf {} + \
    && find /opt/vedette/lib -path '*/pyarrow/*' \( -name '*flight*' -o -name '*s3*' -o -name '*cpp_tests*' \) -delete \
    && find /opt/vedette/lib -name '*.py[ixd]' -delete \
    && find /opt/vedette/lib -name '*.so*' -type f -not -path '*.libs/*' -exec strip --strip-unneeded {} +
# The kernels are compiled into the image, for any machine of its architecture, so a worker starts in seconds.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/vedette/kernels \
    VEDETTE_DECISIONS__MODEL=/opt/vedette/share/model \
    VEDETTE_DECISIONS__POLICY=/opt/vedette/share/policy.yaml
WORKDIR /tmp
RUN vedette features compile && python3 /src/deploy/compose/check-image

FROM base
LABEL org.opencontainers.image.title="Vedette" \
      org.opencontainers.image.description="Streaming fraud detection on Kafka" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.cyclonedx.sbom="/opt/vedette/share/sbom.cdx.json"
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/vedette vedette \
    && rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/bin/pip*
COPY --from=build /opt/vedette /opt/vedette
ENV PATH=/opt/vedette/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/tmp/kernels \
    VEDETTE_DECISIONS__MODEL=/opt/vedette/share/model \
    VEDETTE_DECISIONS__POLICY=/opt/vedette/share/policy.yaml
USER 10001
WORKDIR /var/lib/vedette
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["entrypoint"]
CMD ["--help"]
