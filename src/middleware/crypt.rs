//! The hash that `htpasswd` makes unless it is told otherwise: a thousand rounds of MD5 over password and salt, as
//! FreeBSD's `crypt` began it. It is weak, and it stands in many files.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use md5::{Digest, Md5};

/// Rounds that make guessing slow.
const ROUNDS: usize = 1_000;
/// Longer passwords are none: what clients send must not decide how long it takes.
const PASSWORD_BYTES_MAX: usize = 256;
/// The digits of its base 64, the lowest first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Which bytes of the sum stand together, the highest first.
const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// Whether a password is the one of a hash: `$apr1$SALT$SUM`, or `$1$` in place of `$apr1$`.
pub(super) fn is_password(password: &[u8], hash: &str) -> bool {
    let mut parts = hash.rsplitn(3, '$');
    let (Some(sum), Some(salt), Some(kind)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let magic = format!("{kind}$");
    password.len() <= PASSWORD_BYTES_MAX
        && verify_slices_are_equal(&digits(password, salt.as_bytes(), magic.as_bytes()), sum.as_bytes())
            .is_ok()
}

fn sum(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Md5::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

fn digits(password: &[u8], salt: &[u8], magic: &[u8]) -> Vec<u8> {
    let mut digest = Md5::new();
    digest.update(password);
    digest.update(magic);
    digest.update(salt);
    let inner = sum(&[password, salt, password]);
    for at in (0..password.len()).step_by(inner.len()) {
        digest.update(inner.get(..(password.len() - at).min(inner.len())).unwrap_or_default());
    }
    let mut length = password.len();
    while length > 0 {
        // A zero, where the first thought was of the sum's own byte.
        digest.update(if length & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or_default() });
        length >>= 1;
    }
    let mut last: [u8; 16] = digest.finalize().into();
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        last = sum(&[
            if odd { password } else { &last },
            if round % 3 == 0 { &[] } else { salt },
            if round % 7 == 0 { &[] } else { password },
            if odd { &last } else { password },
        ]);
    }
    let byte = |at: usize| u32::from(last.get(at).copied().unwrap_or_default());
    let mut text = Vec::with_capacity(22);
    for group in GROUPS {
        push_digits(&mut text, group.iter().fold(0, |value, at| (value << 8) | byte(*at)), 4);
    }
    push_digits(&mut text, byte(11), 2);
    text
}

fn push_digits(text: &mut Vec<u8>, mut value: u32, count: usize) {
    for _ in 0..count {
        text.push(DIGITS.get((value & 63) as usize).copied().unwrap_or_default());
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl passwd` makes them.
    #[test]
    fn passwords_are_those_of_their_hashes() {
        for (password, hash) in [
            ("secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
            ("secret", "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1"),
            ("", "$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ."),
        ] {
            assert!(is_password(password.as_bytes(), hash), "{hash}");
            for other in ["x", "secret\0", "Secret"] {
                assert!(!is_password(other.as_bytes(), hash), "{hash} {other:?}");
            }
        }
        for hash in ["", "$", "$apr1$", "$apr1$abcdefgh$", "secret"] {
            assert!(!is_password(b"secret", hash), "{hash}");
        }
        assert!(!is_password(&[b'x'; 300], "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"));
    }
}
