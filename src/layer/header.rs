//! One header block of a tar, strictly read: what POSIX, GNU and old tars may write, and nothing that two readers
//! could understand in two ways.

use super::write::BLOCK;

/// The facts of one block, before extended headers change them.
pub(super) struct RawHeader {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) device: (u32, u32),
}

impl RawHeader {
    /// Reads a block that is not all zeros. Fails with the reason.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        let header = tar::Header::from_byte_slice(block);
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>()
            - header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * u32::from(b' ');
        if unsigned(&header.as_old().cksum, "checksum")? != u64::from(sum) {
            return Err("the checksum of a header is wrong".to_owned());
        }
        let old = header.as_old();
        let is_device = matches!(old.linkflag, [b'3' | b'4']);
        let device = |field: &[u8]| -> Result<u32, String> {
            let value = if is_device { unsigned(field, "device number")? } else { 0 };
            u32::try_from(value).map_err(|_| "a device number is too large".to_owned())
        };
        let (mut name, mut numbers) = (text(&old.name).to_vec(), (0, 0));
        if let Some(ustar) = header.as_ustar() {
            if !text(&ustar.prefix).is_empty() {
                name = [text(&ustar.prefix), b"/", &name].concat();
            }
            numbers = (device(&ustar.dev_major)?, device(&ustar.dev_minor)?);
        } else if let Some(gnu) = header.as_gnu() {
            numbers = (device(&gnu.dev_major)?, device(&gnu.dev_minor)?);
        }
        Ok(Self {
            kind: old.linkflag[0],
            name,
            link: text(&old.linkname).to_vec(),
            mode: (unsigned(&old.mode, "mode")? & 0o7777) as u32,
            uid: unsigned(&old.uid, "uid")?,
            gid: unsigned(&old.gid, "gid")?,
            size: unsigned(&old.size, "size")?,
            mtime: number(&old.mtime, "mtime")?,
            device: numbers,
        })
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn unsigned(field: &[u8], what: &str) -> Result<u64, String> {
    let value = number(field, what)?;
    u64::try_from(value).map_err(|_| format!("the {what} of a header is negative"))
}

/// Octal between blanks and NULs, or GNU's base-256 (first bit set, then two's complement).
fn number(field: &[u8], what: &str) -> Result<i64, String> {
    let invalid = || format!("the {what} of a header is not a number");
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(*first as i8) };
            let value = rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
            i64::try_from(value).map_err(|_| format!("the {what} of a header is too large"))
        }
        _ => {
            let blank = |byte: &u8| matches!(byte, b' ' | 0);
            let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
            let digits = field.get(start..).unwrap_or_default();
            let end = digits.iter().position(blank).unwrap_or(digits.len());
            let (digits, rest) = digits.split_at(end);
            if !rest.iter().all(blank) || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
                return Err(invalid());
            }
            digits
                .iter()
                .try_fold(0_i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
                .ok_or_else(invalid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12 34\0\0\0", None),
            (b"-000001\0", None),
            (b"0000800\0", None),
        ] {
            assert_eq!(number(field, "size").ok(), value, "{field:?}");
        }
    }
}
