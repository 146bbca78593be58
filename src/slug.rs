//! Names made safe for image tags, namespaces and releases, exactly as werf 1.1 makes them: the names of running
//! environments depend on it (spec/publish-and-cleanup.md, section 2).

use unicode_normalization::UnicodeNormalization;

/// A tag of an image. What already is one stays as it is; anything else is folded, cut to 128 and gets its hash.
pub fn docker_tag(text: &str) -> String {
    keep_or_slug(text, 128, is_docker_tag)
}

/// A Kubernetes namespace: a DNS-1123 subdomain of at most 63 characters.
pub fn kubernetes_namespace(text: &str) -> String {
    keep_or_slug(text, 63, is_dns_subdomain)
}

/// A Helm release: a DNS-1123 subdomain of at most 53 characters.
pub fn helm_release(text: &str) -> String {
    keep_or_slug(text, 53, is_dns_subdomain)
}

/// A project name of at most 50 characters; never has a hash, it only suggests a name to people.
pub fn project(text: &str) -> String {
    if text.is_empty() || is_project(text) {
        return text.to_owned();
    }
    cut(&fold(text), 50).to_owned()
}

/// Whether `text` may be a project name: up to 50 of `[a-z0-9-]` that start and end with a letter or digit.
pub fn is_project(text: &str) -> bool {
    text.len() <= 50 && is_dns_label(text)
}

/// The slug of import labels, mount directories and metadata tags: kept when folding changes nothing and it is
/// shorter than `max`.
pub fn limited(text: &str, max: usize) -> String {
    keep_or_slug(text, max, |text| text.len() < max && fold(text) == text)
}

/// MurmurHash3 (x86, 32 bits, seed 0) of the bytes of `text`, in hex digits without leading zeros.
pub fn hash(text: &str) -> String {
    format!("{:x}", murmur3(text.as_bytes()))
}

fn keep_or_slug(text: &str, max: usize, is_fine: impl Fn(&str) -> bool) -> String {
    if text.is_empty() || (text.len() <= max && is_fine(text)) { text.to_owned() } else { slug(text, max) }
}

/// Folded text, cut so that a dash and the hash fit. A cut that ends in a dash stays: 1.1's names have it too.
fn slug(text: &str, max: usize) -> String {
    let (folded, hash) = (fold(text), hash(text));
    if folded.is_empty() {
        return hash;
    }
    let room = max.saturating_sub(hash.len() + 1);
    format!("{}-{hash}", cut(&folded, room))
}

/// ASCII letters, digits and single inner dashes.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut after_dash = true;
    for scalar in text.chars() {
        if is_dash(scalar) {
            if !after_dash {
                folded.push('-');
            }
            after_dash = true;
        } else {
            let length = folded.len();
            push_letters(&mut folded, scalar);
            after_dash &= folded.len() == length;
        }
    }
    if folded.ends_with('-') {
        folded.pop();
    }
    folded
}

/// The first `max` bytes of ASCII text.
fn cut(ascii: &str, max: usize) -> &str {
    ascii.get(..max).unwrap_or(ascii)
}

fn is_dash(scalar: char) -> bool {
    matches!(scalar, ' ' | '&' | '(' | ')' | '+'..='/' | ':'..='>' | '[' | ']' | '_' | '{' | '}' | '~' | '\u{ff3f}' | '\u{ff5e}')
}

fn push_letters(folded: &mut String, scalar: char) {
    if scalar.is_ascii() {
        if scalar.is_ascii_alphanumeric() {
            folded.push(scalar.to_ascii_lowercase());
        }
    } else if let Some((replacement, _)) = REPLACED.iter().find(|(_, scalars)| scalars.contains(scalar)) {
        folded.push_str(replacement);
    } else if DECOMPOSED.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(scalar))) {
        let plain = std::iter::once(scalar).nfkd().filter(char::is_ascii_alphanumeric);
        folded.extend(plain.map(|letter| letter.to_ascii_lowercase()));
    }
}

fn is_docker_tag(text: &str) -> bool {
    crate::image_ref::is_tag(text)
}

fn is_dns_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().next_back().is_some_and(plain)
}

fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0u32, |hash, block| {
        (hash ^ scramble(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    if !tail.is_empty() {
        hash ^= scramble(tail.iter().rev().fold(0, |block, byte| block << 8 | u32::from(*byte)));
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// Scalars that become the ASCII letters of their compatibility decomposition, unless [`REPLACED`] names them.
const DECOMPOSED: &[(u32, u32)] = &[
    (0x00b2, 0x00b3),
    (0x00c0, 0x00c5),
    (0x00c7, 0x00cf),
    (0x00d1, 0x00d6),
    (0x00d9, 0x00dd),
    (0x00e0, 0x00e5),
    (0x00e7, 0x00ef),
    (0x00f1, 0x00f6),
    (0x00f9, 0x00fd),
    (0x00ff, 0x010f),
    (0x0112, 0x0125),
    (0x0128, 0x012f),
    (0x0132, 0x0137),
    (0x0139, 0x013e),
    (0x0143, 0x0148),
    (0x014c, 0x0151),
    (0x0154, 0x0165),
    (0x0168, 0x017f),
    (0x01a0, 0x01a1),
    (0x01af, 0x01b0),
    (0x01c4, 0x01dc),
    (0x01de, 0x01e1),
    (0x01e6, 0x01ed),
    (0x01f0, 0x01f5),
    (0x01f8, 0x01fb),
    (0x0200, 0x021b),
    (0x021e, 0x021f),
    (0x0226, 0x0233),
    (0x1e00, 0x1e99),
    (0x1ea0, 0x1ec7),
    (0x1ecc, 0x1ef9),
    (0x2090, 0x2093),
    (0x2102, 0x2102),
    (0x210a, 0x210e),
    (0x2115, 0x2115),
    (0x2119, 0x211d),
    (0x2120, 0x2122),
    (0x2124, 0x2124),
    (0x212a, 0x212c),
    (0x212f, 0x212f),
    (0x24b6, 0x24ea),
    (0xff21, 0xff3a),
    (0xff41, 0xff5a),
];

/// Replacement, and the scalars that become it.
const REPLACED: &[(&str, &str)] = &[
    ("", "ЪъЬь"),
    ("9", "\u{2490}"),
    ("10", "\u{2491}"),
    ("11", "\u{2492}"),
    ("12", "\u{2493}"),
    ("13", "\u{2494}"),
    ("14", "\u{2495}"),
    ("15", "\u{2496}"),
    ("16", "\u{2497}"),
    ("17", "\u{2498}"),
    ("18", "\u{2499}"),
    ("19", "\u{249a}"),
    ("20", "\u{249b}"),
    ("a", "Ⱥɑᴀẚ⒜Аа"),
    ("aa", "Ꜳꜳ"),
    ("ae", "ÆæǢǣǼǽᴁᴂ"),
    ("af", "ꜺꜻꜼꜽ"),
    ("aj", "Ꜷꜷ"),
    ("ao", "Ꜵꜵ"),
    ("av", "Ꜹꜹ"),
    ("ac", "\u{2100}"),
    ("as", "\u{2101}"),
    ("co", "\u{2105}"),
    ("cu", "\u{2106}"),
    ("b", "ßƀƁƄƅɃᴃ⒝Бб"),
    ("c", "ƇƈȻȼᴄ℃℄⒞Цц"),
    ("ch", "Чч"),
    ("sh", "Шш"),
    ("shch", "Щщ"),
    ("zh", "Жж"),
    ("d", "ÐĐđƉƊɗᴅᴆ⒟Дд"),
    ("db", "ȸ"),
    ("qp", "ȹ"),
    ("px", "\u{211e}"),
    ("nd", "Ƌƌ"),
    ("oe", "Œœɶ"),
    ("th", "Þþ"),
    ("e", "ƐǝɆɇᴇ℮⒠Ээ"),
    ("f", "Ƒƒ℉⒡ꜰФф"),
    ("g", "ƓǤǥɠɡɢ⒢Гг"),
    ("h", "Ħħℏ⒣Хх"),
    ("i", "ƖƗ⒤Ии"),
    ("j", "ȷɈɉᴊ⒥Йй"),
    ("k", "ĸƘƙᴋ⒦Кк"),
    ("l", "İıĿŀŁłȽȾᴌ⒧Лл"),
    ("m", "ɱᴍ⒨Мм"),
    ("n", "ŉŊŋƝƞȠᴎ⒩Нн"),
    ("o", "ØðøƟǾǿɵᴏ⒪Оо"),
    ("p", "Ƥƥ℗⒫Пп"),
    ("q", "ƼƽɊɋ⒬"),
    ("r", "ƦɌɍ℟⒭Рр"),
    ("s", "ƧƨƩȿ⒮ꜱСс"),
    ("t", "ŦŧƪƫƬƭƮ⒯Тт"),
    ("u", "µƱƲɄ⒰Уу"),
    ("v", "Ʌ⒱Вв"),
    ("w", "Ɯɯ⒲"),
    ("x", "×⒳"),
    ("y", "Ɏɏ⒴Ыы"),
    ("ya", "Яя"),
    ("ye", "Ее"),
    ("yo", "Ёё"),
    ("yu", "Юю"),
    ("z", "ƵƶƷȤȥɀ⒵Зз"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_murmur3_without_leading_zeros() {
        for (text, expected) in [
            ("", "0"),
            ("a", "3c2569b2"),
            ("ab", "9bbfd75f"),
            ("abc", "b3dd93fa"),
            ("abcd", "43ed676a"),
            ("hello", "248bfa47"),
            ("da/ta", "afa96f8"),
            ("master", "34ed4d4f"),
        ] {
            assert_eq!(hash(text), expected, "{text}");
        }
    }

    #[test]
    fn tags() {
        let a = |count| "a".repeat(count);
        for (text, expected) in [
            ("", String::new()),
            ("master", "master".into()),
            ("v1.2.0", "v1.2.0".into()),
            ("16.04", "16.04".into()),
            ("developer/feature", "developer-feature-6e0628fc".into()),
            ("core/feature/ADD_SETTINGS", "core-feature-add-settings-df80fdc3".into()),
            ("Features/MyFeature#169", "features-myfeature169-3167bc8c".into()),
            ("feature/ABC-123_fix", "feature-abc-123-fix-261e8170".into()),
            ("helo/ehlo", "helo-ehlo-b6f6ab1f".into()),
            ("release/2020.06.01", "release-2020-06-01-5d70d6cc".into()),
            ("-data", "data-a871d86e".into()),
            ("da/ta", "da-ta-afa96f8".into()),
            (".hidden", "hidden-829fcfc".into()),
            ("ветка", "vyetka-1fdecee0".into()),
            ("релиз/хотфикс", "ryeliz-hotfiks-34f284f1".into()),
            ("!!!", "4e4955fc".into()),
            (&a(128), a(128)),
            (&a(129), a(119) + "-c1ea6be6"),
            (&"x".repeat(129), "x".repeat(119) + "-8cca70eb"),
        ] {
            assert_eq!(docker_tag(text), expected, "{text}");
        }
    }

    #[test]
    fn namespaces() {
        let dash_at_the_cut = format!("{}-{}", "a".repeat(53), "b".repeat(20));
        for (text, expected) in [
            ("tools-stage", "tools-stage".into()),
            ("a.b", "a.b".into()),
            ("My_branch", "my-branch-8ebf2d1d".into()),
            ("branch/one/!@#4.4-3", "branch-one-4-4-3-4fe08955".into()),
            ("chat-Production", "chat-production-1cf4deaf".into()),
            ("tools-review/feature-1", "tools-review-feature-1-9177953b".into()),
            ("da_ta", "da-ta-3b339d14".into()),
            (&"x".repeat(64), "x".repeat(54) + "-afd4efcd"),
            (&dash_at_the_cut, "a".repeat(53) + "--da15ffb6"),
        ] {
            assert_eq!(kubernetes_namespace(text), expected, "{text}");
        }
    }

    #[test]
    fn releases() {
        let almost = format!("l{}", "o".repeat(43));
        for (text, expected) in [
            ("tools-production", "tools-production".into()),
            ("my_release-NAME", "my-release-name-8dd403af".into()),
            ("My.App", "my-app-98f60682".into()),
            (&format!("{almost}ng_string"), format!("{almost}-b150a895")),
            (&"x".repeat(54), "x".repeat(44) + "-18c5dfb9"),
            (
                "tools-review-feature-very-long-branch-name-that-does-not-fit",
                "tools-review-feature-very-long-branch-name-t-9e8692bf".into(),
            ),
        ] {
            assert_eq!(helm_release(text), expected, "{text}");
        }
    }

    #[test]
    fn projects_and_limited_names() {
        for (text, expected) in [
            ("My Project", "my-project"),
            ("UPPER_case.project", "upper-case-project"),
            ("под", "pod"),
            (&"a".repeat(51), &"a".repeat(50)),
        ] {
            assert_eq!(project(text), expected, "{text}");
        }
        assert_eq!(limited("A", 42), "a-54dcf7ce");
        assert_eq!(limited(&"x".repeat(43), 42), "x".repeat(33) + "-27e2f02f");
        assert_eq!(limited("backend_with/slash", 42), "backend-with-slash-f153bfb3");
        assert_eq!(limited("abc", 3), "-b3dd93fa");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_a_valid_tag_comes_out(text in "\\PC{1,300}") {
            proptest::prop_assert!(crate::image_ref::is_tag(&docker_tag(&text)), "{}", docker_tag(&text));
        }
    }
}
