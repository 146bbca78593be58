//! Who a container runs as: `uid[:gid]` or names -> numbers. Pure but for the accounts of the image.

use std::path::Path;

use super::merged::Merged;
use super::spec::Identity;
use crate::error::Error;

/// Resolves a user as Docker does: a name must be known to the image, a number need not be. Without a group it is the user's own,
/// and then the user's further groups count too.
pub fn resolve(user: &str, files: &Merged) -> anyhow::Result<Identity> {
    let read = |path| -> anyhow::Result<String> {
        let bytes = files.read(Path::new(path), 16 << 20)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(identity(user, &read("/etc/passwd")?, &read("/etc/group")?)?)
}

fn identity(user: &str, passwd: &str, group: &str) -> Result<Identity, Error> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let account = passwd.lines().filter_map(Account::parse).find(|account| match user.parse::<u32>() {
        Ok(uid) => account.uid == uid,
        Err(_) => account.name == user,
    });
    let uid = match (&account, user.parse()) {
        (Some(account), _) => account.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(unknown("user", user, "/etc/passwd")),
    };
    let groups = || group.lines().filter_map(Group::parse);
    let (gid, further) = match wanted_group {
        Some(wanted) => {
            let known = groups().find(|group| group.name == wanted).map(|group| group.gid);
            let gid = known.or_else(|| wanted.parse().ok()).ok_or_else(|| unknown("group", wanted, "/etc/group"))?;
            (gid, Vec::new())
        }
        None => {
            let gid = account.as_ref().map_or(0, |account| account.gid);
            let name = account.as_ref().map(|account| account.name);
            let member = |group: &Group| name.is_some_and(|name| group.members.split(',').any(|member| member == name));
            (gid, groups().filter(member).map(|group| group.gid).collect())
        }
    };
    let home = account.map(|account| account.home).filter(|home| !home.is_empty()).unwrap_or("/");
    Ok(Identity { uid, gid, groups: further, home: home.to_owned() })
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::user(format!("the image knows no {what} `{name}`"))
        .hint(format!("add it to `{file}` of the image, or give its number"))
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default().trim() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwww:x:33:app,other\n";

    #[test]
    fn names_and_numbers_are_found_in_the_image() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![], "/root"),
            ("app", 1000, 1001, vec![33], "/home/app"),
            ("1000", 1000, 1001, vec![33], "/home/app"),
            ("app:www", 1000, 33, vec![], "/home/app"),
            ("app:7", 1000, 7, vec![], "/home/app"),
            ("4711", 4711, 0, vec![], "/"),
            ("0:0", 0, 0, vec![], "/root"),
        ] {
            let expected = Identity { uid, gid, groups, home: home.to_owned() };
            assert_eq!(identity(user, PASSWD, GROUP).unwrap(), expected, "{user}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        insta::assert_snapshot!(identity("nobody", PASSWD, GROUP).unwrap_err(), @"the image knows no user `nobody`");
        insta::assert_snapshot!(identity("app:nobody", PASSWD, GROUP).unwrap_err(), @"the image knows no group `nobody`");
    }
}
