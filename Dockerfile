# Three images, each one static program on nothing: docker build --target server|verify|loadgen . (server is the default)
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# Static against glibc: its allocator is made for threads, musl's is not, and since 2.34 files and DNS, all that a container
# needs to find names, are built in. The target is named so that the flags are not for build scripts and macros.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_STRIP=true \
    cargo build --release --locked --target "$target" -p ws-server -p ws-verify -p ws-loadgen \
    && mkdir /out && cp target/"$target"/release/ws-server target/"$target"/release/ws-verify \
    target/"$target"/release/ws-loadgen /out/

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
ENV PATH=/
USER 65534:65534

FROM base AS verify
COPY --from=build /out/ws-verify /
ENTRYPOINT ["ws-verify"]

FROM base AS loadgen
COPY --from=build /out/ws-loadgen /
ENTRYPOINT ["ws-loadgen"]

FROM base AS server
COPY --from=build /out/ws-server /
ENV LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s CMD ["ws-server", "healthcheck"]
ENTRYPOINT ["ws-server"]
