//! What a job owns on this host, written down before it is made, and who may take it away.
//!
//! ```text
//! <state>/leases/j101-248bfa47.json    who the job is and which runner it belongs to
//! <state>/jobs/j101-248bfa47/          lock (held by the hook at work), bin/, tmp/, docker/
//! <state>/slots/p42-248bfa47/s0        link whose target is the job that uses <builds>/p42-248bfa47/s0
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind::AlreadyExists, ErrorKind::NotFound, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::sys::process_table::{self, ProcessIdentity};
use crate::sys::remove;

use super::error::{ExecutorError, file};
use super::job::Job;

/// Jobs of one project that can run at once on one host.
const SLOTS: usize = 1000;
/// How long an older hook of a job may take to end after SIGTERM, and again after SIGKILL.
const TAKE_OVER: Duration = Duration::from_secs(6);
/// The same when nobody waits for the older hook any more.
const REAP: Duration = Duration::from_millis(500);
/// A job that outlives its timeout by this much has been given up by its runner.
const EXPIRY_MARGIN: u64 = 3600;

/// The directories of all jobs of this host.
#[derive(Clone, Debug)]
pub struct State {
    state_dir: PathBuf,
    builds_dir: PathBuf,
}

/// A job's claim to its objects. It holds while its runner lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    version: u32,
    pub job: u64,
    pub key: String,
    pub project_key: String,
    pub project_path: PathBuf,
    runner: ProcessIdentity,
    /// Seconds since the start of the system.
    expires: u64,
}

impl Lease {
    fn new(job: &Job) -> io::Result<Self> {
        Ok(Self {
            version: 1,
            job: job.id,
            key: job.key(),
            project_key: job.project_key(),
            project_path: job.project_path.clone(),
            runner: ProcessIdentity::of(process_table::starter()?)?,
            expires: process_table::uptime()?.saturating_add(job.timeout).saturating_add(EXPIRY_MARGIN),
        })
    }

    fn is_live(&self) -> bool {
        self.runner.is_alive() && process_table::uptime().is_ok_and(|now| now < self.expires)
    }
}

/// The right to change a job's objects; ends with the process.
#[derive(Debug)]
pub struct JobLock {
    _file: File,
}

impl State {
    pub fn new(state_dir: &Path, builds_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), builds_dir: builds_dir.to_owned() }
    }

    /// Directory of what lives only as long as the job.
    pub fn job_dir(&self, key: &str) -> PathBuf {
        self.state_dir.join("jobs").join(key)
    }

    /// Writes the job's lease down, and makes its directory; again without harm.
    pub fn claim(&self, job: &Job) -> Result<(), ExecutorError> {
        let lease = Lease::new(job).map_err(ExecutorError::Processes)?;
        let path = self.lease_path(&lease.key);
        let known = read_lease(&path).is_some_and(|known| known.runner == lease.runner && known.is_live());
        if known {
            return make_dir(&self.job_dir(&lease.key));
        }
        make_dir(path.parent().unwrap_or(&self.state_dir))?;
        let text = serde_json::to_vec(&lease).map_err(io::Error::from);
        text.and_then(|text| write_lease(&path, &text)).map_err(file("write", &path))?;
        make_dir(&self.job_dir(&lease.key))
    }

    /// Whether prepare has been here for this job.
    pub fn check_claimed(&self, job: &Job) -> Result<(), ExecutorError> {
        let path = self.lease_path(&job.key());
        if path.exists() { Ok(()) } else { Err(ExecutorError::NotPrepared { job: job.id, path }) }
    }

    /// A directory for work trees that no other job uses: the one that this job has already, else the first free one.
    pub fn slot(&self, job: &Job) -> Result<PathBuf, ExecutorError> {
        let (project, key) = (job.project_key(), job.key());
        let slots = self.state_dir.join("slots").join(&project);
        make_dir(&slots)?;
        let owned = (0..SLOTS)
            .map(|slot| slots.join(format!("s{slot}")))
            .find(|slot| owner_of(slot).as_deref() == Some(key.as_str()));
        let slot = match owned {
            Some(slot) => slot,
            None => self.free_slot(&slots, job)?,
        };
        let directory = self.builds_dir.join(project).join(slot.file_name().unwrap_or_default());
        make_dir(&directory)?;
        Ok(directory)
    }

    fn free_slot(&self, slots: &Path, job: &Job) -> Result<PathBuf, ExecutorError> {
        for slot in (0..SLOTS).map(|slot| slots.join(format!("s{slot}"))) {
            // A link is made with its target in one step: there is no slot without an owner.
            match symlink(job.key(), &slot) {
                Ok(()) => return Ok(slot),
                Err(error) if error.kind() == AlreadyExists => {}
                Err(error) => return Err(file("create", &slot)(error)),
            }
        }
        Err(ExecutorError::NoSlot { project: job.project_id, count: SLOTS })
    }

    /// Takes the job's lock for a hook. An older hook of the same job that still works is ended first.
    pub fn lock(&self, job: u64, key: &str) -> Result<JobLock, ExecutorError> {
        self.lock_within(job, key, TAKE_OVER)
    }

    fn lock_within(&self, job: u64, key: &str, patience: Duration) -> Result<JobLock, ExecutorError> {
        let directory = self.job_dir(key);
        let lock = File::create(directory.join("lock")).map_err(file("create", directory.join("lock")))?;
        if !try_lock(&lock).map_err(file("lock", &directory))? {
            take_over(&lock, &directory, job, patience)?;
        }
        Ok(JobLock { _file: lock })
    }

    /// Removes everything that a job owns; says whether there was anything. Safe at any moment, and twice.
    pub fn release(&self, job: u64, key: &str) -> Result<bool, ExecutorError> {
        self.release_within(job, key, TAKE_OVER)
    }

    fn release_within(&self, job: u64, key: &str, patience: Duration) -> Result<bool, ExecutorError> {
        let lease_path = self.lease_path(key);
        let lease = match fs::read(&lease_path) {
            Ok(text) => serde_json::from_slice::<Lease>(&text).ok(),
            Err(error) if error.kind() == NotFound => return Ok(false),
            Err(error) => return Err(file("read", lease_path)(error)),
        };
        make_dir(&self.job_dir(key))?;
        let _lock = self.lock_within(job, key, patience)?;
        if let Some(lease) = &lease {
            self.release_slots(lease)?;
        }
        let jobs = self.state_dir.join("jobs");
        remove::remove_beneath(&jobs, Path::new(key)).map_err(file("remove", jobs.join(key)))?;
        let _ = fs::remove_file(lease_path.with_extension(UNFINISHED));
        match fs::remove_file(&lease_path) {
            Err(error) if error.kind() != NotFound => Err(file("remove", lease_path)(error)),
            _ => Ok(true),
        }
    }

    /// Gives the job's slots back, without the files with secrets that the runner leaves beside a work tree when a job
    /// ends by timeout (spec/executor.md 3.3).
    fn release_slots(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let slots = self.state_dir.join("slots").join(&lease.project_key);
        let entries = match fs::read_dir(&slots) {
            Err(error) if error.kind() == NotFound => return Ok(()),
            entries => entries.map_err(file("read", &slots))?,
        };
        for slot in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if owner_of(&slot).as_deref() != Some(lease.key.as_str()) {
                continue;
            }
            let directory = self.builds_dir.join(&lease.project_key).join(slot.file_name().unwrap_or_default());
            for suffix in [".tmp", "-empty.tmp"] {
                let mut name = lease.project_path.clone().into_os_string();
                name.push(suffix);
                remove_reporting(&directory, Path::new(&name))?;
            }
            match fs::remove_file(&slot) {
                Err(error) if error.kind() != NotFound => return Err(file("remove", slot)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Releases what jobs of dead runners have left, until the deadline. Says which jobs.
    pub fn reap(&self, deadline: Instant) -> Vec<u64> {
        let entries = fs::read_dir(self.state_dir.join("leases"));
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut reaped = Vec::new();
        for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            if Instant::now() >= deadline {
                break;
            }
            let Some(lease) = read_lease(&path) else { continue };
            if !lease.is_live() && self.release_within(lease.job, &lease.key, REAP).is_ok_and(|released| released) {
                reaped.push(lease.job);
            }
        }
        reaped
    }

    fn lease_path(&self, key: &str) -> PathBuf {
        self.state_dir.join("leases").join(format!("{key}.json"))
    }
}

/// Ends whoever has the lock open: an older hook of the job. A job cannot make us end anybody else.
fn take_over(lock: &File, directory: &Path, job: u64, patience: Duration) -> Result<(), ExecutorError> {
    let mut holders = Vec::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        holders = process_table::with_open(lock).map_err(ExecutorError::Processes)?;
        for pid in &holders {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if try_lock(lock).map_err(file("lock", directory))? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Err(ExecutorError::Busy { job, holders })
}

fn read_lease(path: &Path) -> Option<Lease> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

const UNFINISHED: &str = "new";

/// Survives a power cut; a process killed in the middle leaves a file that its successor uses again.
fn write_lease(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// Where a hostile work tree has put a link in the way there is nothing of ours behind it.
fn remove_reporting(root: &Path, path: &Path) -> Result<(), ExecutorError> {
    match remove::remove_beneath(root, path) {
        Err(error) if matches!(error.raw_os_error(), Some(code) if code == LOOP || code == NOT_A_DIRECTORY) => Ok(()),
        result => result.map_err(file("remove", root.join(path))),
    }
}

const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();
const NOT_A_DIRECTORY: i32 = rustix::io::Errno::NOTDIR.raw_os_error();

fn owner_of(slot: &Path) -> Option<String> {
    fs::read_link(slot).ok()?.into_os_string().into_string().ok()
}

fn try_lock(lock: &File) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A directory for this user alone, with its parents.
pub(super) fn make_dir(path: &Path) -> Result<(), ExecutorError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64) -> Job {
        let url = "https://git.example.com/group/tools.git";
        let response = serde_json::json!({"id": id, "job_info": {"project_id": 42}, "git_info": {"repo_url": url}});
        Job::parse(response.to_string().as_bytes()).unwrap()
    }

    struct Place {
        directory: tempfile::TempDir,
        state: State,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let state = State::new(&directory.path().join("state"), &directory.path().join("builds"));
        Place { directory, state }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn jobs_of_one_project_never_share_a_directory() {
        let place = place();
        let slot = |id| {
            place.state.claim(&job(id)).unwrap();
            place.state.slot(&job(id)).unwrap()
        };
        let (first, second) = (slot(1), slot(2));
        assert!(first.ends_with("s0") && second.ends_with("s1"));
        assert_eq!(slot(1), first, "asking again changes nothing");
        assert!(place.state.release(1, &job(1).key()).unwrap());
        assert_eq!(slot(3), first, "what is free is used again, with the work tree in it");
    }

    #[test]
    fn releasing_leaves_the_work_tree_and_no_secrets() {
        let place = place();
        place.state.claim(&job(1)).unwrap();
        let slot = place.state.slot(&job(1)).unwrap();
        fs::create_dir_all(slot.join("group/tools/.git")).unwrap();
        fs::create_dir_all(slot.join("group/tools.tmp")).unwrap();
        fs::write(slot.join("group/tools.tmp/KUBECONFIG"), "secret").unwrap();
        assert!(place.state.release(1, &job(1).key()).unwrap());
        assert!(slot.join("group/tools/.git").is_dir() && !slot.join("group/tools.tmp").exists());
        for directory in ["leases", "jobs", &format!("slots/{}", job(1).project_key())] {
            assert_eq!(fs::read_dir(place.directory.path().join("state").join(directory)).unwrap().count(), 0);
        }
        assert!(!place.state.release(1, &job(1).key()).unwrap(), "the second time there is nothing to do");
        assert!(!place.state.release(9, &job(9).key()).unwrap());
    }

    /// Checklist 47: the job replaced a directory on the way by a link.
    #[test]
    fn links_in_a_work_tree_lead_nowhere() {
        let place = place();
        place.state.claim(&job(1)).unwrap();
        let slot = place.state.slot(&job(1)).unwrap();
        let precious = place.directory.path().join("precious");
        fs::create_dir_all(precious.join("tools.tmp")).unwrap();
        symlink(&precious, slot.join("group")).unwrap();
        assert!(place.state.release(1, &job(1).key()).unwrap());
        assert!(precious.join("tools.tmp").is_dir());
    }

    #[test]
    fn only_what_dead_runners_left_is_reaped() {
        let place = place();
        for id in [1, 2] {
            place.state.claim(&job(id)).unwrap();
        }
        let slot = place.state.slot(&job(2)).unwrap();
        let path = place.state.lease_path(&job(2).key());
        let mut lease: Lease = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        lease.runner.boot_id = "an earlier one".into();
        fs::write(&path, serde_json::to_vec(&lease).unwrap()).unwrap();
        assert_eq!(place.state.reap(soon()), [2]);
        assert_eq!(place.state.reap(soon()), [] as [u64; 0]);
        place.state.claim(&job(3)).unwrap();
        assert_eq!(place.state.slot(&job(3)).unwrap(), slot);
    }

    #[test]
    fn a_job_past_its_time_is_reaped_though_its_runner_lives() {
        let place = place();
        place.state.claim(&job(1)).unwrap();
        let path = place.state.lease_path(&job(1).key());
        let mut lease: Lease = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(lease.is_live());
        lease.expires = 0;
        fs::write(&path, serde_json::to_vec(&lease).unwrap()).unwrap();
        assert_eq!(place.state.reap(soon()), [1]);
    }
}
