# shellcheck shell=bash
# Certificates and kubeconfigs: one key pair for each program, with no more rights than its role needs.

# make_pki: fills $PKI; two authorities, so that no client certificate of the API opens etcd.
make_pki() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  authority ca
  authority etcd-ca
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-account.key"
  openssl ec -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub" 2>/dev/null
  certificate etcd-ca etcd /CN=etcd serverAuth IP:127.0.0.1
  certificate etcd-ca etcd-client /CN=kube-apiserver clientAuth
  certificate ca kube-apiserver /CN=kube-apiserver serverAuth \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$KUBERNETES_IP"
  certificate ca kubelet-server "/O=system:nodes/CN=system:node:$NODE_NAME" serverAuth "DNS:$NODE_NAME,IP:$NODE_IP"
  certificate ca kubelet-client /CN=kdbg:apiserver-kubelet-client clientAuth
  user admin /O=system:masters/CN=kdbg:admin
  user kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
  user kube-controller-manager /CN=system:kube-controller-manager
  user kube-scheduler /CN=system:kube-scheduler
  user kube-proxy /CN=system:kube-proxy
  user coredns /CN=kdbg:coredns
  install -m 600 "$PKI/admin.conf" "$STATE/kubeconfig"
}

# authority NAME: a key and a certificate that may sign others.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=kdbg-$1" \
    -keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>/dev/null
}

# certificate AUTHORITY NAME SUBJECT USAGE [NAMES]
certificate() {
  local extensions="keyUsage=critical,digitalSignature
extendedKeyUsage=$4"
  if [[ -n ${5:-} ]]; then extensions+=$'\n'"subjectAltName=$5"; fi
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$PKI/$2.key" 2>/dev/null |
    openssl x509 -req -CA "$PKI/$1.crt" -CAkey "$PKI/$1.key" -set_serial "0x$(openssl rand -hex 16)" -days 3650 \
      -out "$PKI/$2.crt" -extfile <(printf '%s\n' "$extensions") 2>/dev/null
}

# user NAME SUBJECT: a client certificate and a kubeconfig that holds it.
user() {
  certificate ca "$1" "$2" clientAuth
  # the context bears the cluster's name, so that several kubeconfigs can be merged
  (umask 077 && cat >"$PKI/$1.conf") <<YAML
apiVersion: v1
kind: Config
clusters:
- name: $CLUSTER
  cluster:
    server: https://$NODE_IP:6443
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $CLUSTER-$1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
    client-key-data: $(base64 -w0 "$PKI/$1.key")
contexts:
- name: $CLUSTER
  context: {cluster: $CLUSTER, user: $CLUSTER-$1}
current-context: $CLUSTER
YAML
}
