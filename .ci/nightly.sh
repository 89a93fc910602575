# Sourced by the steps that need a nightly compiler, for sanitizers: sees to one, and sets `nightly` and `target`.
# shellcheck shell=bash
# Both are read by the steps.
# shellcheck disable=SC2034

# Any will do: nothing of ours is built for users with it.
nightly=nightly
rustup toolchain list | grep -q "^$nightly" || rustup toolchain install --profile minimal "$nightly"
target=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c \
    'import json, sys; print(json.load(sys.stdin)["target_directory"])')
