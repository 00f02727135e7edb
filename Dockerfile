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
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# Dependencies change less often than the code, so they have a layer of their own. Versions come from the pins.
COPY pyproject.toml requirements/dev.txt scripts/image-requirements ./
# Besides the extras, the mail server of deployments with simulated payments.
ARG EXTRAS="archive postgres"
RUN python3 -m venv /opt/vedette \
    && python3 image-requirements ${EXTRAS} > /tmp/requirements.txt \
    && /opt/vedette/bin/pip install --quiet --only-binary :all: \
        --constraint dev.txt --requirement /tmp/requirements.txt aiosmtpd
COPY . .
RUN /opt/vedette/bin/pip install --quiet --no-deps . \
    && mkdir -p /opt/vedette/share \
    && cp -r models/demo /opt/vedette/share/model \
    && cp decisions/policy.yaml deploy/compose/routing.yaml deploy/compose/make-secrets deploy/compose/inbox /opt/vedette/share/ \
    && cp deploy/compose/entrypoint /opt/vedette/bin/
# The kernels are compiled into the image, for any machine of its architecture, so a worker starts in seconds.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/vedette/kernels
RUN /opt/vedette/bin/vedette features compile \
    && find /opt/vedette -type d \( -name tests -o -path '*/pyarrow/include' \) -prune -exec rm -rf {} + \
    && find /opt/vedette -name '*.pyi' -delete \
    && /opt/vedette/bin/pip uninstall --quiet --yes pip

FROM base
LABEL org.opencontainers.image.title="Vedette" \
      org.opencontainers.image.description="Streaming fraud detection on Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/vedette vedette
COPY --from=build /opt/vedette /opt/vedette
ENV PATH=/opt/vedette/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/tmp/kernels \
    VEDETTE_DECISIONS__MODEL=/opt/vedette/share/model \
    VEDETTE_DECISIONS__POLICY=/opt/vedette/share/policy.yaml
USER 10001
WORKDIR /var/lib/vedette
ENTRYPOINT ["entrypoint"]
CMD ["--help"]
