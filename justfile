# Short names for daily tasks. `.ci/just` runs this file with a pinned just; if just is installed, so does `just`.
#
# Each recipe is one line over cargo or a script of .ci/, so that nothing can be done here alone: .ci/run is what must
# pass, and calls those and not this. (Why just: a Makefile would be about files, which Cargo handles better; an xtask
# crate would be one more crate to build before anything else.)

# List the recipes.
default:
    @'{{ just_executable() }}' --justfile '{{ justfile() }}' --list --unsorted

# Format all code.
fmt:
    cargo fmt --all

# Check the format and the lints, so that no reviewer has to.
lint:
    cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings

# Build the documentation of the code, and check its links.
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# Run all tests that need nothing but Rust; arguments go to cargo, for example: just test --test system races
test *ARGUMENTS:
    cargo test --workspace --locked {{ ARGUMENTS }}

# Run everything that must pass. It takes most of an hour.
ci:
    .ci/run

# Start the local server, as the README does.
serve *ARGUMENTS:
    cargo run --release --locked -- {{ ARGUMENTS }}

# Regenerate docs/openapi.json from the handlers.
update-openapi:
    UPDATE_OPENAPI=1 cargo test --workspace --locked --lib openapi

# Regenerate the generated parts of template.yaml and Cargo.toml from the list of endpoints.
update-template:
    UPDATE_TEMPLATE=1 cargo test --workspace --locked --test functions template

# Check the licences, sources and advisories of the dependencies.
deny:
    .ci/deny

# Run AWS's tools on template.yaml.
template:
    .ci/template

# Build the functions' release binaries, then deploy and run them in every way.
deployment:
    .ci/functions && .ci/deployment

# Compare the client's signatures with botocore's, and assume roles at an emulated STS; `just test` builds what it needs.
client:
    .ci/client

# Run the GitHub Action, the GitLab component and the Jenkins recipe on this machine; arguments name suites, for example: killed
integrations *SUITES:
    .ci/integrations {{ SUITES }}

# Run the system tests over MiniStack's DynamoDB; arguments go to the test harness.
ministack *ARGUMENTS:
    .ci/ministack-tests {{ ARGUMENTS }}

# Check the workflows and the YAML of docs/pipelines.md.
workflows:
    .ci/workflows

# Build what a release carries into dist/; arguments are its parts, by default all (see the script).
release *PARTS:
    .ci/release {{ PARTS }}
