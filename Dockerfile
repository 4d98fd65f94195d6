# The node with RocksDB inside.   docker build -t peerstage .
# deploy/replay-dockerfile replays these steps where there is no container engine; it knows the
# instructions used here and refuses others.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ libclang-dev && rm -rf /var/lib/apt/lists/*
# The image's own toolchain, without the lints and formatter that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN cargo build --locked --release -p peerstage --features rocksdb --bin peerstage
RUN strip -o /usr/local/bin/peerstage target/release/peerstage

FROM debian:bookworm-slim
# libstdc++ is what RocksDB links; the node needs no certificates and no shell.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libstdc++6 && rm -rf /var/lib/apt/lists/*
# By number: what a volume belongs to must not depend on what else the base image has.
RUN groupadd --gid 10001 peerstage
RUN useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/peerstage --shell /usr/sbin/nologin peerstage
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/peerstage
COPY --from=build /usr/local/bin/peerstage /usr/local/bin/peerstage
COPY deploy/container.toml /etc/peerstage/node.toml
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/peerstage/
USER 10001:10001
WORKDIR /var/lib/peerstage
VOLUME /var/lib/peerstage
# Peers; metrics and health.
EXPOSE 30400 30400/udp 9464
# Said here and not in the configuration, so that `docker exec NODE peerstage peers` finds the
# admin socket too.
ENV PEERSTAGE_NODE__DATA_DIR=/var/lib/peerstage
# What threads have freed stays in their arenas: docs/adr/0017.
ENV MALLOC_ARENA_MAX=2
# Every key can be set from outside: PEERSTAGE_NETWORK__NAME=mychain.
ENTRYPOINT ["peerstage"]
CMD ["run", "--config", "/etc/peerstage/node.toml"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["peerstage", "status"]
