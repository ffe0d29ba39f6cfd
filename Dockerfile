# The page in a container, for CPUs; see docs/guides/container.md. .ci/container takes these steps without an engine.
FROM python:3.11-slim

# PyTorch's own index for CPUs, which its page "Get started" names: without it PyTorch brings CUDA, which takes gigabytes.
ARG PIP_EXTRA_INDEX_URL=

ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    CHARLM_RUNS=/data/runs \
    CHARLM_DATA=/data/texts \
    HF_HOME=/data/huggingface \
    NUMBA_CACHE_DIR=/data/numba

RUN useradd --create-home --uid 1000 charlm
RUN mkdir -p /data && chown 1000:1000 /data

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN python -m compileall -q app.py charlm

# The code belongs to root and stays as it is; runs, texts and caches are in the volume.
USER 1000
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=30s --start-period=60s CMD ["python", "-m", "charlm.ui.health"]
CMD ["python", "app.py"]
