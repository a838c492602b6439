# One image of the suite, installed from requirements.lock; `docker run --rm -v "$PWD/multirun_outputs:/unsir-bench/multirun_outputs"
# unsir-bench method=unsir dataset=digits` does a run.
#
#   docker build -t unsir-bench .                                       CPU
#   docker build -t unsir-bench:cuda --build-arg TORCH=cuda .           CUDA; run it with --gpus all
#
# torch's CUDA libraries come with its wheels: both images start from the same slim Python.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH=cpu
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /unsir-bench
COPY . .
RUN make setup TORCH=${TORCH}

ENV PATH=/unsir-bench/.venv/bin:$PATH
# Records name who may change them: not root.
# Git refuses to name the commit of a folder that is another user's unless told that it is safe.
RUN git config --system --add safe.directory /unsir-bench \
    && useradd --create-home bench && mkdir -p multirun_outputs data && chown bench multirun_outputs data
USER bench
VOLUME /unsir-bench/multirun_outputs
ENTRYPOINT ["unsir-bench"]
CMD ["--help"]
