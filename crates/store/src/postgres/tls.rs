//! TLS to the database, with the meanings that its URLs give to `sslmode` and `sslrootcert`.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What connects by TLS. `verify`: only to a server whose certificate the system, or the file of
/// `authorities`, trusts and that bears its name; otherwise whoever answers is believed, as
/// `sslmode=require` has it.
pub(super) fn connector(
    verify: bool,
    authorities: Option<&Path>,
) -> Result<MakeRustlsConnect, String> {
    let config = if verify {
        ::tls::trusting(authorities.map(read).transpose()?.unwrap_or_default())
    } else {
        ::tls::believing()
    };
    let config = config.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(MakeRustlsConnect::new(config))
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let wrong = |error| format!("sslrootcert: the certificates in {shown} cannot be read: {error}");
    let found = CertificateDer::pem_file_iter(file).map_err(wrong)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(format!("sslrootcert: {shown} holds no certificate"));
    }
    Ok(found)
}
