//! Base64, base32, and checksums.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::text;

pub const ROWS: &[Row] = table! {
    "b64enc" (Str) => |_, a| text(STANDARD.encode(a.str(0))),
    "b64dec" (Str) => b64dec,
    "b32enc" (Str) => |_, a| text(b32enc(a.str(0).as_bytes())),
    "b32dec" (Str) => b32dec,
    "sha1sum" (Str) => |_, a| text(hex(&Sha1::digest(a.str(0)))),
    "sha256sum" (Str) => |_, a| text(hex(&Sha256::digest(a.str(0)))),
    "sha512sum" (Str) => |_, a| text(hex(&Sha512::digest(a.str(0)))),
    "adler32sum" (Str) => |_, a| text(adler32(a.str(0).as_bytes()).to_string()),
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bad input gives the text of the error, as sprig has it.
fn b64dec(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let plain: String = args.str(0).chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&plain) {
        Ok(bytes) => text(String::from_utf8_lossy(&bytes)),
        Err(error) => {
            let foreign =
                plain.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')));
            let at = foreign.unwrap_or(match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => {
                    at
                }
                _ => plain.len() / 4 * 4,
            });
            // Counted in the text as it was given, with its newlines.
            let given = args.str(0).char_indices().filter(|(_, c)| !matches!(c, '\r' | '\n')).nth(at);
            let at = given.map_or(args.str(0).len(), |(index, _)| index);
            text(format!("illegal base64 data at input byte {at}"))
        }
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn b32enc(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(5) {
        let bits =
            (0..5).fold(0u64, |bits, index| bits << 8 | u64::from(chunk.get(index).copied().unwrap_or_default()));
        let symbols = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let value = (bits >> (35 - 5 * index)) as usize & 31;
            out.push(if index < symbols { char::from(BASE32[value]) } else { '=' });
        }
    }
    out
}

fn b32dec(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let plain: Vec<u8> = args.str(0).bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let symbols = plain.iter().position(|byte| *byte == b'=').unwrap_or(plain.len());
    let (mut bits, mut held, mut out) = (0u64, 0, Vec::new());
    for (at, byte) in plain.iter().take(symbols).enumerate() {
        let Some(value) = BASE32.iter().position(|symbol| symbol == byte) else {
            return text(format!("illegal base32 data at input byte {at}"));
        };
        bits = bits << 5 | value as u64;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if !plain.len().is_multiple_of(8) {
        return text(format!("illegal base32 data at input byte {}", plain.len()));
    }
    text(String::from_utf8_lossy(&out))
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    b << 16 | a
}
