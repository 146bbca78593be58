//! Secrets, registered once and replaced by `[MASKED]` in all that is shown, also when split across writes, also base64- or
//! URL-encoded (decisions 6.4).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What stands in place of a secret.
pub const MASKED: &str = "[MASKED]";

/// A shorter value is too common a text to be blotted out everywhere.
const SHORTEST_SECRET: usize = 4;
/// Shorter pieces (encoded forms, single lines of a longer secret) would hit innocent text.
const SHORTEST_PIECE: usize = 8;
/// Below this many bytes of secrets the fastest automaton is small enough.
const FAST_LIMIT: usize = 16 << 10;

/// All secrets of a run. Clones share them; one added later counts from then on.
#[derive(Clone, Default)]
pub struct Mask {
    shared: Arc<RwLock<Secrets>>,
}

#[derive(Default)]
struct Secrets {
    forms: BTreeSet<Vec<u8>>,
    compiled: Option<Arc<Compiled>>,
}

impl Mask {
    /// Registers a secret with the forms it may appear in: as it is, in base64, URL-encoded, and, if it has several lines, line by
    /// line. A value shorter than 4 bytes is left alone.
    pub fn add(&self, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref().trim_ascii();
        if secret.len() < SHORTEST_SECRET {
            return;
        }
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.forms.extend(forms(secret));
        shared.compiled = None;
    }

    /// `bytes` with all secrets masked.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(compiled) = self.compiled() else { return Cow::Borrowed(bytes) };
        if compiled.searcher.find(bytes).is_none() {
            return Cow::Borrowed(bytes);
        }
        let mut masked = Vec::with_capacity(bytes.len());
        compiled.replace(bytes, &mut masked);
        Cow::Owned(masked)
    }

    /// `text` with all secrets masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Masks bytes that come in parts.
    pub fn filter(&self) -> MaskFilter {
        MaskFilter { mask: self.clone(), held: Vec::new() }
    }

    /// A writer in front of `writer` that masks what passes. End it with [`MaskStream::finish`].
    pub fn stream<W: Write>(&self, writer: W) -> MaskStream<W> {
        MaskStream { filter: self.filter(), clean: Vec::new(), writer }
    }

    fn compiled(&self) -> Option<Arc<Compiled>> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        if shared.forms.is_empty() || shared.compiled.is_some() {
            return shared.compiled.clone();
        }
        drop(shared);
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if shared.compiled.is_none() {
            shared.compiled = Compiled::new(&shared.forms).map(Arc::new);
        }
        shared.compiled.clone()
    }
}

/// Shows how many secrets there are, never one of them.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Mask").field("forms", &shared.forms.len()).finish()
    }
}

/// Masks bytes that come in parts: holds back only what may be the start of a secret, at most the longest one's length.
#[derive(Debug)]
pub struct MaskFilter {
    mask: Mask,
    held: Vec<u8>,
}

impl MaskFilter {
    /// Takes the next part and appends to `clean` all that is certain.
    pub fn push(&mut self, part: &[u8], clean: &mut Vec<u8>) {
        let Some(compiled) = self.mask.compiled() else {
            return clean.extend_from_slice(part);
        };
        if self.held.is_empty() {
            let certain = compiled.replace_certain(part, clean);
            self.held.extend_from_slice(part.get(certain..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(part);
            let certain = compiled.replace_certain(&self.held, clean);
            self.held.drain(..certain);
        }
    }

    /// Appends what was held back: nothing comes after it.
    pub fn finish(&mut self, clean: &mut Vec<u8>) {
        clean.extend_from_slice(&self.mask.bytes(&self.held));
        self.held.clear();
    }
}

/// See [`Mask::stream`].
#[derive(Debug)]
pub struct MaskStream<W: Write> {
    filter: MaskFilter,
    clean: Vec<u8>,
    writer: W,
}

impl<W: Write> MaskStream<W> {
    /// Writes what was held back and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.clean.clear();
        self.filter.finish(&mut self.clean);
        self.writer.write_all(&self.clean)?;
        self.writer.flush()?;
        Ok(self.writer)
    }
}

impl<W: Write> Write for MaskStream<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.clean.clear();
        self.filter.push(part, &mut self.clean);
        self.writer.write_all(&self.clean)?;
        Ok(part.len())
    }

    /// What may be the start of a secret stays back even now.
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

struct Compiled {
    searcher: AhoCorasick,
    /// Sorted, to look up what a tail may be the start of.
    forms: Vec<Vec<u8>>,
    longest: usize,
    /// The first two bytes of every form: tells at once of almost any place that no secret starts there.
    starts: Pairs,
}

impl Compiled {
    /// `None` where the forms are too many for any automaton; they were checked to be of sane size before.
    fn new(forms: &BTreeSet<Vec<u8>>) -> Option<Self> {
        let total: usize = forms.iter().map(Vec::len).sum();
        let kind = (total < FAST_LIMIT).then_some(AhoCorasickKind::DFA);
        let searcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).kind(kind).build(forms).ok()?;
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        let mut starts = Pairs::default();
        forms.iter().for_each(|form| starts.add(form));
        Some(Self { searcher, forms: forms.iter().cloned().collect(), longest, starts })
    }

    fn replace(&self, bytes: &[u8], masked: &mut Vec<u8>) {
        let mut copied = 0;
        for found in self.searcher.find_iter(bytes) {
            masked.extend_from_slice(bytes.get(copied..found.start()).unwrap_or_default());
            masked.extend_from_slice(MASKED.as_bytes());
            copied = found.end();
        }
        masked.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    }

    /// Masks all but the tail that may be the start of a secret; gives the length of what is dealt with.
    ///
    /// A match that starts before that tail is final: a longer one at the same place would make the tail start there.
    fn replace_certain(&self, bytes: &[u8], clean: &mut Vec<u8>) -> usize {
        let mut copied = 0;
        let mut tail = self.open_tail(bytes, 0);
        for found in self.searcher.find_iter(bytes) {
            if found.start() >= tail {
                break;
            }
            clean.extend_from_slice(bytes.get(copied..found.start()).unwrap_or_default());
            clean.extend_from_slice(MASKED.as_bytes());
            copied = found.end();
            if copied > tail {
                tail = self.open_tail(bytes, copied);
            }
        }
        clean.extend_from_slice(bytes.get(copied..tail).unwrap_or_default());
        tail
    }

    /// The first place, from `from` on, whose rest is the start of a secret without being all of it; else the end.
    fn open_tail(&self, bytes: &[u8], from: usize) -> usize {
        let first = from.max((bytes.len() + 1).saturating_sub(self.longest));
        (first..bytes.len())
            .find(|place| bytes.get(*place..).is_some_and(|tail| self.starts_a_form(tail)))
            .unwrap_or(bytes.len())
    }

    fn starts_a_form(&self, tail: &[u8]) -> bool {
        if !self.starts.may_have(tail) {
            return false;
        }
        let next = self.forms.partition_point(|form| form.as_slice() <= tail);
        self.forms.get(next).is_some_and(|form| form.starts_with(tail))
    }
}

/// A set of byte pairs: one bit for each of the 65536.
struct Pairs(Vec<u64>);

impl Default for Pairs {
    fn default() -> Self {
        Self(vec![0; 1024])
    }
}

impl Pairs {
    fn add(&mut self, text: &[u8]) {
        if let [first, second, ..] = *text
            && let Some(bits) = self.0.get_mut(usize::from(first) * 4 + usize::from(second >> 6))
        {
            *bits |= 1 << (second & 63);
        }
    }

    /// A text of one byte has no pair: it may start anything.
    fn may_have(&self, text: &[u8]) -> bool {
        let [first, second, ..] = *text else { return true };
        let bits = self.0.get(usize::from(first) * 4 + usize::from(second >> 6));
        bits.is_some_and(|bits| bits >> (second & 63) & 1 == 1)
    }
}

/// Every text that gives the secret away.
fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([secret.to_vec()]);
    let lines = secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    forms.extend(lines.filter(|line| line.len() >= SHORTEST_PIECE && !line.starts_with(b"-----")).map(<[u8]>::to_vec));
    forms.insert(percent_encoded(secret, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
    forms.insert(form_encoded(secret));
    for skipped in 0..3 {
        let encoded = base64_at(secret, skipped);
        if encoded.len() >= SHORTEST_PIECE {
            forms.insert(encoded.replace('+', "-").replace('/', "_").into_bytes());
            forms.insert(encoded.into_bytes());
        }
    }
    forms
}

/// The characters of base64 that depend on the secret alone, when `skipped` (0 to 2) bytes stand before it in their group of three.
fn base64_at(secret: &[u8], skipped: usize) -> String {
    let padded = [vec![0; skipped].as_slice(), secret].concat();
    let encoded = STANDARD_NO_PAD.encode(&padded);
    let first = (skipped * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    encoded.get(first..last).unwrap_or_default().to_owned()
}

fn percent_encoded(secret: &[u8], is_kept: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(secret.len());
    for byte in secret {
        if is_kept(*byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}

/// As a value of a web form: `+` for a space.
fn form_encoded(secret: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(secret);
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let mask = Mask::default();
        for secret in secrets {
            mask.add(secret);
        }
        mask
    }

    /// The filter's output when the text comes in parts of the given lengths.
    fn in_parts(mask: &Mask, text: &[u8], lengths: &[usize]) -> Vec<u8> {
        let (mut filter, mut clean, mut rest) = (mask.filter(), Vec::new(), text);
        for length in lengths.iter().cycle() {
            let (part, after) = rest.split_at((*length).clamp(1, rest.len().max(1)).min(rest.len()));
            filter.push(part, &mut clean);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        filter.finish(&mut clean);
        clean
    }

    #[test]
    fn a_secret_and_its_encodings_are_masked() {
        let secret = "p@ss word/+~?";
        let mask = mask(&[secret]);
        for before in ["", "u", "us", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let encoded = STANDARD_NO_PAD.encode(format!("{before}{secret}{after}"));
                for encoded in [encoded.clone(), encoded.replace('+', "-").replace('/', "_")] {
                    let masked = mask.text(&encoded).into_owned();
                    assert!(masked.contains(MASKED), "{before}|{after}: {masked}");
                    assert!(masked.len() <= MASKED.len() + 2 * 4 + 4, "{before}|{after}: {masked}");
                }
            }
        }
        assert_eq!(mask.text("url?p=p%40ss%20word%2F%2B~%3F&x"), "url?p=[MASKED]&x");
        assert_eq!(mask.text("p=p%40ss+word%2F%2B%7E%3F&x"), "p=[MASKED]&x");
        assert_eq!(mask.text("say 'p@ss word/+~?'!"), "say '[MASKED]'!");
        assert_eq!(mask.text("nothing to hide"), "nothing to hide");
    }

    #[test]
    fn each_line_of_a_longer_secret_is_masked_but_not_its_marks() {
        let mask = mask(&["-----BEGIN KEY-----\nMIIEabcdefgh\r\nshort\n-----END KEY-----\n"]);
        assert_eq!(mask.text("a MIIEabcdefgh b"), "a [MASKED] b");
        assert_eq!(mask.text("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
        assert_eq!(mask.text("short"), "short");
        assert_eq!(mask.text("-----BEGIN KEY-----\nMIIEabcdefgh\r\nshort\n-----END KEY-----\n"), "[MASKED]\n");
    }

    #[test]
    fn values_too_short_to_be_secrets_are_left_alone() {
        let mask = mask(&["", " ", "1", "abc", " ok \n"]);
        assert_eq!(mask.text("1 abc ok"), "1 abc ok");
        assert_eq!(format!("{mask:?}"), "Mask { forms: 0 }");
    }

    #[test]
    fn the_longer_of_two_secrets_wins_also_across_parts() {
        let mask = mask(&["token", "token-0123456789"]);
        for length in 1..20 {
            assert_eq!(in_parts(&mask, b"a token-0123456789 token-01 b", &[length]), b"a [MASKED] [MASKED]-01 b");
        }
    }

    /// Hostile input 45: split across writes at every place.
    #[test]
    fn a_secret_split_across_writes_is_masked() {
        let mask = mask(&["hunter2-hunter2"]);
        let text = b"login hunter2-hunter2 hunter2-hunter3";
        for at in 0..text.len() {
            let mut stream = mask.stream(Vec::new());
            stream.write_all(&text[..at]).unwrap();
            stream.flush().unwrap();
            stream.write_all(&text[at..]).unwrap();
            assert_eq!(stream.finish().unwrap(), b"login [MASKED] hunter2-hunter3");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let mask = mask(&["hunter2-hunter2"]);
        let (mut filter, mut clean) = (mask.filter(), Vec::new());
        filter.push(b"a prompt> hun", &mut clean);
        assert_eq!(clean, b"a prompt> ");
        filter.push(b"gry? ", &mut clean);
        assert_eq!(clean, b"a prompt> hungry? ");
    }

    #[test]
    fn a_secret_added_later_counts_from_then_on() {
        let mask = Mask::default();
        let mut stream = mask.stream(Vec::new());
        stream.write_all(b"late-secret ").unwrap();
        mask.clone().add("late-secret");
        stream.write_all(b"late-secret").unwrap();
        assert_eq!(stream.finish().unwrap(), b"late-secret [MASKED]");
    }

    proptest! {
        /// However the text is cut in parts, what comes out is the same as for the whole.
        #[test]
        fn parts_do_not_matter(
            secrets in prop::collection::vec("[ab-]{4,9}", 1..4),
            text in "[ab-]{0,60}",
            lengths in prop::collection::vec(1usize..7, 1..8),
        ) {
            let mask = Mask::default();
            for secret in &secrets {
                mask.add(secret);
            }
            let whole = mask.bytes(text.as_bytes()).into_owned();
            prop_assert_eq!(in_parts(&mask, text.as_bytes(), &lengths), whole);
        }
    }
}
