//! PAX extended headers: `length key=value\n` records, written and strictly read.

/// Prefix of the keys of extended attributes.
pub(super) const XATTR: &str = "SCHILY.xattr.";

/// Records in the order they were added.
#[derive(Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Takes an extended header apart. Fails on any record that is not exactly what its length says, and on a key given twice.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or("a PAX record is not `length key=value`")?;
        if records.iter().any(|(known, _)| *known == key) {
            return Err(format!("the PAX record `{}` stands twice", key.escape_debug()));
        }
        records.push((key, value.to_vec()));
        bytes = rest;
    }
    Ok(records)
}

fn record(bytes: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(bytes.get(..space)?).ok()?;
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(body.get(..equals)?).ok().filter(|key| !key.is_empty() && !key.contains('\0'))?;
    Some((key.to_owned(), body.get(equals + 1..)?, bytes.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_counts_its_own_digits() {
        for value in 80..100 {
            let mut records = Records::default();
            records.add(b"path", &vec![b'x'; value]);
            assert_eq!(parse(records.as_bytes()).unwrap(), [("path".to_owned(), vec![b'x'; value])]);
        }
    }

    /// Hostile input 2.
    #[test]
    fn a_record_with_a_wrong_length_is_refused() {
        for text in [
            "11 path=abc\n",
            "13 path=abc\n",
            "012 path=abc\n",
            "-1 path=abc\n",
            "+12 path=abc\n",
            "12path=abc\n",
            "12 path=abcd",
            "99999999999999999999999 path=abc\n",
            "18446744073709551615 a=\n",
            "0 a=b\n",
            "2 \n",
            "6 =ab\n",
            "8 pathab\n",
            " 12 path=abc\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"12 path=abc\n").is_ok());
        assert_eq!(parse(b"6 a=b\n6 a=c\n").unwrap_err(), "the PAX record `a` stands twice");
    }
}
