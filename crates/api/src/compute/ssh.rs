//! SSH keys and certificates: fingerprints of what users import, and new key pairs for those who ask.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Digest;
use model::Env;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A new key pair: the public key in one line, and the private key in OpenSSH's format.
pub struct Generated {
    /// `ssh-ed25519 AAAA… COMMENT`
    pub public_key: String,
    /// `-----BEGIN OPENSSH PRIVATE KEY-----…`
    pub private_key: String,
}

/// The MD5 fingerprint of an SSH public key, `aa:bb:…`, or what is wrong with the key.
pub fn fingerprint(public_key: &str) -> Result<String, &'static str> {
    let mut words = public_key.split_whitespace();
    let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
        return Err("it is not TYPE BASE64 [COMMENT]");
    };
    let known = ["ssh-rsa", "ssh-dss", "ssh-ed25519", "ecdsa-sha2-nistp", "sk-ssh-", "sk-ecdsa-"];
    if !known.iter().any(|known| kind.starts_with(known)) {
        return Err("its type is not known");
    }
    let blob = STANDARD.decode(encoded).map_err(|_| "it is not valid base64")?;
    // The type stands at the beginning of the key, too (RFC 4253, section 6.6).
    let inner = blob.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
    if inner != Some(kind.len()) || blob.get(4..4 + kind.len()) != Some(kind.as_bytes()) {
        return Err("what it holds is not of its type");
    }
    Ok(colons(&md5::Md5::digest(&blob)))
}

/// The SHA-1 fingerprint of an X.509 certificate in PEM, `aa:bb:…`.
pub fn certificate_fingerprint(pem: &str) -> Result<String, &'static str> {
    let body = pem
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
        .ok_or("it is not a certificate in PEM")?
        .0;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| "it is not valid base64")?;
    // Nova's choice; it identifies and does not protect.
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &der);
    Ok(colons(digest.as_ref()))
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Makes an Ed25519 key pair.
pub fn generate(env: &Env, comment: &str) -> Option<Generated> {
    let mut seed = [0; 32];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&env.random().to_be_bytes());
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
    let public = pair.public_key().as_ref();
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-ed25519");
    put(&mut blob, public);
    // OpenSSH's PROTOCOL.key, unencrypted.
    let mut secret = Vec::new();
    let check = (env.random() as u32).to_be_bytes();
    secret.extend_from_slice(&check);
    secret.extend_from_slice(&check);
    put(&mut secret, b"ssh-ed25519");
    put(&mut secret, public);
    put(&mut secret, &[&seed[..], public].concat());
    put(&mut secret, comment.as_bytes());
    let padding = secret.len().next_multiple_of(8) - secret.len();
    secret.extend((1..=padding).map(|n| n as u8));
    let mut file = b"openssh-key-v1\0".to_vec();
    put(&mut file, b"none");
    put(&mut file, b"none");
    put(&mut file, b"");
    file.extend_from_slice(&1_u32.to_be_bytes());
    put(&mut file, &blob);
    put(&mut file, &secret);
    let encoded = STANDARD.encode(&file);
    let lines: Vec<&str> =
        (0..encoded.len()).step_by(70).map(|at| &encoded[at..(at + 70).min(encoded.len())]).collect();
    let private_key = format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        lines.join("\n")
    );
    Some(Generated { public_key: format!("ssh-ed25519 {} {comment}", STANDARD.encode(&blob)), private_key })
}

/// A string of SSH's: its length and its bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with OpenSSH; the fingerprint is what `ssh-keygen -l -E md5` prints of it.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS one@example";

    #[test]
    fn fingerprints_of_good_keys_only() {
        let print = fingerprint(KEY).expect("a good key");
        assert_eq!((print.len(), print.matches(':').count()), (47, 15));
        assert_eq!(fingerprint(&format!("{KEY}\n")), Ok(print), "a newline at the end does no harm");
        for bad in [
            "",
            "ssh-rsa",
            "ssh-rsa !!!",
            "ssh-rsa AAAA",
            "rsa AAAAB3NzaC1yc2E= x",
            &KEY.replace("ssh-ed25519 ", "ssh-rsa "),
        ] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
        assert!(certificate_fingerprint("x").is_err());
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate_fingerprint(pem).map(|print| print.len()), Ok(59));
    }

    #[test]
    fn new_pairs_differ_and_are_whole() {
        let env = Env::system();
        let (one, two) = (generate(&env, "c").expect("made"), generate(&env, "c").expect("made"));
        assert_ne!(one.public_key, two.public_key);
        assert!(fingerprint(&one.public_key).is_ok());
        let body: String = one.private_key.lines().filter(|line| !line.starts_with('-')).collect();
        let file = STANDARD.decode(body).expect("base64");
        assert!(file.starts_with(b"openssh-key-v1\0"));
        let blob = STANDARD.decode(one.public_key.split(' ').nth(1).expect("key")).expect("base64");
        assert!(file.windows(blob.len()).any(|window| window == blob), "the public key stands in it");
    }
}
