//! A TLS handshake, and by whose certificates the server is trusted.
//!
//! A program in the pod trusts the bundle in its own root; that decides whether it would get on, so that is
//! asked first. Ours comes second, and the client says which one accepted.

use std::sync::{Arc, Mutex, PoisonError};

use bstr::{BStr, BString, ByteSlice as _};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::wire::Wire;
use crate::{
    agent::{Stop, resolver, steps::Steps, target::Target, target::errno_of, view::View},
    protocol::message::{
        Ending, Failure, HttpProtocol, HttpRequest, Phase, ProbeRecord, TlsSession, TrustStore,
        Trusted,
    },
};

/// Where programs look for certificates, as Go does (`crypto/x509/root_linux.go`).
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The names of the versions in a handshake (ALPN).
pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// Prepares a connection over TLS; the judge knows afterwards what became of it.
pub(super) fn prepare(
    request: &HttpRequest,
    target: &Target,
) -> Result<Result<(ClientConnection, Arc<Judge>), String>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let judge = Arc::new(Judge {
        stores: stores(request, target, &provider)?,
        insecure: request.insecure,
        provider: Arc::clone(&provider),
        found: Mutex::default(),
    });
    Ok(connection(request, provider, &judge).map(|connection| (connection, judge)))
}

fn connection(
    request: &HttpRequest,
    provider: Arc<CryptoProvider>,
    judge: &Arc<Judge>,
) -> Result<ClientConnection, String> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(judge) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = match request.protocol {
        HttpProtocol::Http1 => vec![HTTP1.to_vec()],
        HttpProtocol::Negotiated | HttpProtocol::Http2 => vec![HTTP2.to_vec(), HTTP1.to_vec()],
    };
    let name = request.server_name.to_str_lossy().into_owned();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())
}

/// Shakes hands and tells the client how that went; answers whether it went well.
pub(super) fn shake_hands(
    steps: &mut Steps<'_>,
    wire: &mut Wire,
    judge: &Judge,
    limit: u32,
) -> Result<bool, Stop> {
    let at = steps.now();
    let deadline = steps.within(limit);
    let failure = loop {
        match wire.shake_hands() {
            Ok(true) => break None,
            Ok(false) => {}
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    let interest = wire.interest();
                    if !steps.wait(&[(wire.tcp(), interest)], deadline, Phase::Tls)? {
                        break Some(Ending::TimedOut {
                            after: deadline.after,
                            phase: Phase::Tls,
                        });
                    }
                }
                std::io::ErrorKind::UnexpectedEof => break Some(Ending::Closed),
                std::io::ErrorKind::InvalidData => {
                    break Some(Ending::Refused(error.to_string()));
                }
                std::io::ErrorKind::Interrupted => {}
                _ => {
                    let errno = errno_of(&error) as i32;
                    break Some(Ending::Failed { errno });
                }
            },
        }
        if deadline.has_passed() {
            break Some(Ending::TimedOut {
                after: deadline.after,
                phase: Phase::Tls,
            });
        }
    };
    let found = judge.lock();
    let went_well = failure.is_none();
    steps.tell(ProbeRecord::Tls(Box::new(TlsSession {
        at,
        took: steps.now() - at,
        version: wire
            .tls()
            .and_then(|tls| tls.protocol_version())
            .and_then(|version| version.as_str().map(|name| name.replace('_', "."))),
        cipher: wire
            .tls()
            .and_then(|tls| tls.negotiated_cipher_suite())
            .and_then(|suite| suite.suite().as_str().map(str::to_owned)),
        protocol: wire
            .tls()
            .and_then(|tls| tls.alpn_protocol())
            .map(BString::from),
        chain: found
            .chain
            .iter()
            .map(|one| one.as_slice().into())
            .collect(),
        trusted: found.trusted.clone().unwrap_or(Trusted::NotAsked),
        failure,
    })))?;
    Ok(went_well)
}

/// Asks one store after the other, and remembers what each said.
#[derive(Debug)]
pub(super) struct Judge {
    stores: Vec<(TrustStore, Option<Arc<WebPkiServerVerifier>>)>,
    insecure: bool,
    provider: Arc<CryptoProvider>,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    chain: Vec<Vec<u8>>,
    trusted: Option<Trusted>,
}

impl Judge {
    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        self.lock().chain = chain.map(|one| one.to_vec()).collect();
        let mut refused_by = Vec::new();
        let mut last = Error::General("no certificates to trust".to_owned());
        for (store, verifier) in &self.stores {
            let verdict = match verifier {
                Some(verifier) => verifier.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                ),
                None => Err(Error::General("it has no certificate".to_owned())),
            };
            match verdict {
                Ok(verified) => {
                    let store = store.clone();
                    self.lock().trusted = Some(Trusted::By { store, refused_by });
                    return Ok(verified);
                }
                Err(error) => {
                    refused_by.push((store.clone(), error.to_string()));
                    last = error;
                }
            }
        }
        self.lock().trusted = Some(Trusted::Refused(refused_by));
        if self.insecure {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(last)
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

type Store = (TrustStore, Option<Arc<WebPkiServerVerifier>>);

fn stores(
    request: &HttpRequest,
    target: &Target,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<Store>, Failure> {
    if let Some(given) = &request.authorities {
        let (roots, _) = roots_of(given);
        return Ok(vec![(TrustStore::Given, verifier(roots, provider))]);
    }
    let mut stores = Vec::new();
    if let Some((path, bytes)) = bundle(target)? {
        let (roots, count) = roots_of(&bytes);
        let path = path.into();
        let store = TrustStore::Target { path, count };
        stores.push((store, verifier(roots, provider)));
    }
    let mut ours = RootCertStore::empty();
    ours.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    stores.push((TrustStore::Ours, verifier(ours, provider)));
    Ok(stores)
}

fn roots_of(pem: &[u8]) -> (RootCertStore, u32) {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let (count, _) = roots.add_parsable_certificates(certificates);
    (roots, u32::try_from(count).unwrap_or(u32::MAX))
}

/// A store without a certificate accepts nothing.
fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .ok()
}

/// The bundle that the process would use: the one that `SSL_CERT_FILE` names, or the first where bundles are.
fn bundle(target: &Target) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let view = View::open(target)?;
    let environment = target.read("environ").unwrap_or_default();
    let named = environment
        .split(|byte| *byte == 0)
        .find_map(|line| line.strip_prefix(b"SSL_CERT_FILE="))
        .map(|path| BStr::new(path).to_str_lossy().into_owned())
        .filter(|path| !path.is_empty());
    let paths = named.into_iter().chain(BUNDLES.map(str::to_owned));
    for path in paths {
        if let Some(bytes) = resolver::read(&view, &path)? {
            return Ok(Some((path, bytes)));
        }
    }
    Ok(None)
}
