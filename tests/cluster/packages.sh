# shellcheck shell=bash
# prepare: everything that is done once and kept. Each product is made again when its recipe (the
# list of its packages, the version of Python or R) changes.

DEBIAN_PACKAGES=(
  slurmctld slurmd slurm-client slurmdbd slurm-wlm-basic-plugins mariadb-server munge
  openssh-server openssh-client libpam-google-authenticator oathtool
  lmod python3 python3-venv python3-pip virtualenv nodejs
  r-base-core r-cran-irkernel r-cran-crayon r-cran-pbdzmq r-cran-devtools r-cran-doparallel
  zsh fish xonsh bash-completion locales rsync
  iproute2 iputils-ping iptables nftables dnsmasq-base bind9-dnsutils curl ca-certificates
  chromium libatomic1 sudo expect git jq procps util-linux mount hostname openssl strace zstd
)
# What `pip install --no-index` finds on the cluster.
WHEELS=(
  jupyterlab ipykernel nbconvert nbclient papermill numpy jupyterlmod jupyter-rsession-proxy
  dask distributed dask-jobqueue bokeh
  pip setuptools wheel virtualenv plumbum
)
# What install.packages() finds at cran.vcluster.example, with all that these need.
R_PACKAGES=(crayon pbdZMQ devtools IRkernel doParallel)
LAPTOP_TOOLS=(sshuttle playwright plumbum)

prepare() {
  mkdir -p "$CACHE/accounting"
  exec {cache_lock}>"$CACHE/lock"
  flock "$cache_lock" # two clusters may share the cache; the second waits for the first
  install_debian_packages
  make_once wheelhouse "$(python_version)" "${WHEELS[@]}"
  make_once ipython-kernel "$(python_version)" ipykernel
  make_once laptop "$(python_version)" "${LAPTOP_TOOLS[@]}"
  command -v starship >/dev/null || { make_once starship 13 && ln -sfn "$CACHE/starship/usr/bin/starship" /usr/local/bin/starship; }
  make_once cran "${R_PACKAGES[@]}" "$(dpkg-query -W -f '${Package} ${Version}\n' 'r-*' 2>/dev/null | sha256sum)"
  make_keys
  exec {cache_lock}>&-
}

# make_once PRODUCT RECIPE...: runs `make_PRODUCT FOLDER` unless $CACHE/PRODUCT was made so before.
make_once() {
  local product=$1 recipe="${*:2}" folder=$CACHE/$1
  [[ $(cat "$folder.made" 2>/dev/null) != "$recipe" ]] || return 0
  say "preparing $product"
  rm -rf "$folder" "$folder.made"
  mkdir -p "$folder"
  "make_$product" "$folder" >"$CACHE/$product.log" 2>&1 || {
    tail -n 8 "$CACHE/$product.log" >&2
    die "$product could not be made; see $CACHE/$product.log"
  }
  printf '%s' "$recipe" >"$folder.made"
}

install_debian_packages() {
  local missing=() package policy=/usr/sbin/policy-rc.d
  # shellcheck source=/dev/null
  if [[ $(source /etc/os-release && echo "$VERSION_ID") == 13 ]]; then DEBIAN_PACKAGES+=(starship); else DEBIAN_PACKAGES+=(patchelf); fi
  for package in "${DEBIAN_PACKAGES[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing Debian packages: ${missing[*]}"
  # No service may start on the machine itself.
  if [[ -e $policy ]]; then
    policy=
  else
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}"
  } >"$CACHE/apt.log" 2>&1 || {
    tail -n 20 "$CACHE/apt.log" >&2
    if [[ $policy ]]; then rm "$policy"; fi
    die "apt-get failed; see $CACHE/apt.log"
  }
  if [[ $policy ]]; then rm "$policy"; fi
}

# With Debian's Python, which is the one that the module python offers.
make_wheelhouse() {
  /usr/bin/python3 -m pip wheel --quiet --wheel-dir "$1" "${WHEELS[@]}"
}

# The kernel of the module ipython-kernel, in a Python of its own. root.sh shows it in the software
# tree; `bin/python -m ipykernel_launcher` works wherever the folder is.
make_ipython-kernel() {
  /usr/bin/python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet ipykernel
}

# The laptop sees this folder as /opt/laptop, and that is what the scripts' first lines must name.
make_laptop() {
  /usr/bin/python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet "${LAPTOP_TOOLS[@]}"
  grep --files-with-matches --binary-files=without-match "^#!$1/bin/" "$1"/bin/* \
    | xargs sed --in-place "1s|^#!$1/bin/|#!/opt/laptop/bin/|"
}

# Debian 12 has no starship: that of 13, with the C library that it was made for
make_starship() {
  local apt mirror package libraries
  # shellcheck source=/dev/null
  mirror=$(source /etc/os-release && apt-cache policy | sed -n "s|^ *[0-9]* \(http[^ ]*\) $VERSION_CODENAME/main .*|\1|p")
  mkdir -p "$1/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$1/sources.list"
  apt=(apt-get -qq -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$1/lists")
  "${apt[@]}" update
  (cd "$1" && "${apt[@]}" download starship libc6)
  for package in "$1"/*.deb; do dpkg-deb --extract "$package" "$1"; done
  libraries=$(dirname "$1"/usr/lib/*/ld-linux*)
  patchelf --set-interpreter "$(echo "$libraries"/ld-linux*)" --set-rpath "$libraries:/lib/${libraries##*/}" "$1/usr/bin/starship"
  rm -r "$1"/{lists,sources.list} "$1"/*.deb
  "$1/usr/bin/starship" --version
}

make_cran() {
  /usr/bin/Rscript "${here:?}/cran.R" "$1" "${R_PACKAGES[@]}"
}
