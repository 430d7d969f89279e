#!/usr/bin/env bash
# Installs Acclimate: the steps of docker/Dockerfile, which CI also runs in a fresh environment.
#
#   docker/install.sh system           Debian packages for rendering without a screen (needs root)
#   docker/install.sh python PREFIX    a virtual environment in PREFIX, from requirements.lock, with Acclimate in it
#   docker/install.sh verify PREFIX    what came of it: imports, the command, a rendered frame
#
# BUILD=cpu (default) takes the torch that the package index offers, which may be the larger CUDA build: it computes on
# the CPU as well. BUILD=cuda refuses any other. TORCH_INDEX is the address of a further index to take torch from.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-cpu}

fail() {
    echo "docker/install.sh: $*" >&2
    exit 2
}

system() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends libosmesa6
}

python() {
    local prefix=$1
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Acclimate needs Python 3.11 or newer; set PYTHON to one"
    "${PYTHON:-python3}" -m venv "$prefix"
    local pip=("$prefix/bin/python" -m pip --disable-pip-version-check --no-cache-dir install --quiet)
    "${pip[@]}" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r "$source/requirements.lock"
    local copy # so that building leaves nothing in the source tree
    copy=$(mktemp -d)
    (cd "$source" && cp -r acclimate agents configs envs trainers pyproject.toml README.md LICENSE "$copy")
    "${pip[@]}" --no-deps --no-build-isolation "$copy"
    rm -rf "$copy"
    local cuda
    cuda=$("$prefix/bin/python" -c 'import torch; print(torch.version.cuda or "none")')
    echo "torch is built for CUDA: $cuda"
    if [ "$build" = cuda ] && [ "$cuda" = none ]; then
        fail "BUILD=cuda, but the index offers a torch without CUDA; name one that has it with TORCH_INDEX"
    fi
}

verify() {
    local prefix=$1 somewhere
    somewhere=$(mktemp -d)
    # From elsewhere, so that what answers is what was installed and not the source tree.
    (
        cd "$somewhere"
        "$prefix/bin/acclimate" check point_nav-v1
        "$prefix/bin/acclimate" train point_nav_maml --out run iterations=1 workers=0 \
            agent.meta_batch_size=2 agent.rollouts=2 'evaluation={validation_tasks: 2, held_out_tasks: 2, rollouts: 2}'
        "$prefix/bin/python" -c "import acclimate; acclimate.load('run').begin_trial()"
        "$prefix/bin/python" "$source/docker/render.py"
    )
    rm -rf "$somewhere"
}

[ "$build" = cpu ] || [ "$build" = cuda ] || fail "BUILD is $build; it must be cpu or cuda"
case "${1:-}" in
    system) system ;;
    python | verify) "$1" "${2:?docker/install.sh $1 needs the folder of the environment}" ;;
    *) fail "say system, python PREFIX or verify PREFIX" ;;
esac
