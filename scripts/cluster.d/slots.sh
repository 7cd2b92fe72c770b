# shellcheck shell=bash
# Who has which addresses. The range 198.18.0.0/15 is reserved for benchmarks: no host on any network has such an address.
#
# Slot N (0 to 14) owns the pods 198.18.0.0 + N*8192 /20, the Services 4096 further /20, and the link 198.19.255.(4N)/30
# between the host and the node; the last sixteenth of the range holds these links.
# A lease is a file on /run, as network interfaces too are gone after a restart of the machine.

LEASES=/run/kdbg-cluster
SLOTS=15

# take_slot: leases the slot that the cluster had or a free one, and sets the addresses.
take_slot() {
  local slot lock
  mkdir -p "$LEASES"
  exec {lock}<"$LEASES"
  flock "$lock"
  if ! slot=$(held_slot); then
    for ((slot = 0; slot < SLOTS; slot++)); do
      # also skip addresses that something else on this machine uses
      if [[ ! -e $LEASES/$slot ]] && ! ip -4 -oneline address | grep -qF " $(link_address "$slot" 1)/"; then break; fi
    done
    ((slot < SLOTS)) || die "all $SLOTS slots are taken: $(cat "$LEASES"/* | paste -sd' ' -)"
    printf '%s\n' "$STATE" >"$LEASES/$slot"
  fi
  exec {lock}<&-
  set_addresses "$slot"
}

# held_slot: prints the slot that this cluster holds.
held_slot() {
  local file
  for file in "$LEASES"/*; do
    if [[ -f $file && $(<"$file") == "$STATE" ]]; then
      printf '%s\n' "${file##*/}"
      return
    fi
  done
  return 1
}

release_slot() {
  local slot
  while slot=$(held_slot); do rm -f "$LEASES/$slot"; done
  rmdir "$LEASES" 2>/dev/null || true
}

# set_addresses SLOT: sets SLOT, LINK, HOST_IP, NODE_IP, POD_CIDR, SERVICE_CIDR, KUBERNETES_IP and DNS_IP.
set_addresses() {
  SLOT=$1 LINK=kdbg$1
  HOST_IP=$(link_address "$1" 1) NODE_IP=$(link_address "$1" 2)
  POD_CIDR=$(block_address "$1" 0)/20
  SERVICE_CIDR=$(block_address "$1" 4096)/20
  KUBERNETES_IP=$(block_address "$1" 4097) DNS_IP=$(block_address "$1" 4106)
}

link_address() { printf '198.19.255.%d' $(($1 * 4 + $2)); }

block_address() {
  local number=$(((198 << 24) + (18 << 16) + $1 * 8192 + $2))
  printf '%d.%d.%d.%d' $((number >> 24)) $((number >> 16 & 255)) $((number >> 8 & 255)) $((number & 255))
}
