# Short names for what one does daily. `.ci/just` runs this file with a pinned just; where just is installed, so does `just`.
#
# Each recipe is one line over cargo or a script of .ci/, so that nothing can be done here alone: .ci/run is what must
# pass, and calls those and not this. (Why just: a Makefile would be about files, which Cargo knows better; an xtask crate
# would be one more crate to build before anything else.)

# What there is.
default:
    @'{{ just_executable() }}' --justfile '{{ justfile() }}' --list --unsorted

# Format all code.
fmt:
    cargo fmt --all

# What a reviewer should not have to say: lints.
lint:
    cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings

# Build the documentation of the code, in which every link leads somewhere.
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

# All tests that need nothing but Rust; arguments go to cargo, for example: just test --test system races
test *ARGUMENTS:
    cargo test --workspace --locked {{ ARGUMENTS }}

# Everything that must pass. It takes most of an hour.
ci:
    .ci/run

# Start the local server, as the README does.
serve *ARGUMENTS:
    cargo run --release --locked -- {{ ARGUMENTS }}

# Write docs/openapi.json anew from the handlers.
update-openapi:
    UPDATE_OPENAPI=1 cargo test --workspace --locked --lib openapi

# Write the generated parts of template.yaml and Cargo.toml anew from the list of endpoints.
update-template:
    UPDATE_TEMPLATE=1 cargo test --workspace --locked --test functions template

# Licences, sources and advisories of the dependencies.
deny:
    .ci/deny

# What AWS's tools say of template.yaml.
template:
    .ci/template

# The functions' release binaries, then everything that deploys and runs them.
deployment:
    .ci/functions && .ci/deployment

# The system tests over MiniStack's DynamoDB; arguments go to the test harness.
ministack *ARGUMENTS:
    .ci/ministack-tests {{ ARGUMENTS }}
