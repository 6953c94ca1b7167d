//! The binary in a pseudo terminal: keys in, a screen out, and the terminal as it was in the end.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    path::PathBuf,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use rustix::{
    process::{Pid, Signal, kill_process},
    termios::{Termios, tcgetattr},
};

/// Everything that is waited for comes much sooner, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// What is on the terminal before tusktop starts.
pub const BEFORE: &str = "$ tusktop";

/// A terminal with a program in it.
pub struct Terminal {
    pub screen: vt100::Parser,
    pub output: Receiver<Vec<u8>>,
    pub input: Box<dyn Write + Send>,
    pub master: Box<dyn MasterPty + Send>,
    pub slave: Option<Box<dyn SlavePty + Send>>,
    pub child: Box<dyn Child + Send + Sync>,
    pub tty: PathBuf,
    pub modes_before: Termios,
    pub _config: tempfile::TempDir,
}

impl Terminal {
    pub fn start(mut command: CommandBuilder, variables: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).expect("a pseudo terminal");
        let tty = pair.master.tty_name().expect("its name");
        let modes_before = modes(&tty);
        let config = tempfile::tempdir().expect("a temporary folder");
        command.env_clear();
        for (name, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/bin")] {
            command.env(name, value);
        }
        variables.iter().for_each(|(name, value)| command.env(name, value));
        command.env("HOME", config.path());
        command.env("XDG_CONFIG_HOME", config.path());
        let child = pair.slave.spawn_command(command).expect("it starts");
        let mut reader = pair.master.try_clone_reader().expect("its output");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut screen = vt100::Parser::new(cells(rows), cells(columns), 0);
        screen.process(BEFORE.as_bytes());
        screen.process(b"\r\n");
        let input = pair.master.take_writer().expect("its input");
        let (master, slave) = (pair.master, Some(pair.slave));
        Self { screen, output, input, master, slave, child, tty, modes_before, _config: config }
    }

    pub fn tusktop(columns: u16, rows: u16) -> Self {
        let mut terminal = Self::start(tusktop(), &[], columns, rows);
        terminal.wait_for("the first snapshot", |screen| screen.contents().contains("mem"));
        assert!(terminal.screen.screen().alternate_screen());
        terminal
    }

    /// Reads output until the screen is as wanted.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !wanted(self.screen.screen()) {
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.screen.process(&chunk),
                Err(_) => panic!("no {what} in\n{}", self.screen.screen().contents()),
            }
        }
    }

    /// Presses a key again and again until the screen is as wanted: one that comes too fast after another may not count.
    pub fn press_until(&mut self, key: &str, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !wanted(self.screen.screen()) {
            assert!(Instant::now() < end, "no {what} in\n{}", self.screen.screen().contents());
            self.press(key);
            let patience = Instant::now() + Duration::from_secs(1);
            while let Ok(chunk) = self.output.recv_timeout(patience.saturating_duration_since(Instant::now())) {
                self.screen.process(&chunk);
                if wanted(self.screen.screen()) {
                    return;
                }
            }
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.process_id().expect("it runs").cast_signed()).expect("a pid")
    }

    pub fn kill(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    pub fn wait_for_state(&self, wanted: char) {
        let path = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        let end = Instant::now() + DEADLINE;
        loop {
            let stat = std::fs::read_to_string(&path).expect("it runs");
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state == Some(wanted) {
                return;
            }
            assert!(Instant::now() < end, "still in state {state:?} and not {wanted}");
            thread::yield_now();
        }
    }

    /// Waits for its end, and checks the exit code and that the terminal is as it was.
    pub fn ends_with(mut self, code: u32) -> String {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("it does not end; the screen is\n{}", self.screen.screen().contents());
            }
            // Its output must be taken, or it could wait for room.
            if let Ok(chunk) = self.output.recv_timeout(Duration::from_millis(10)) {
                self.screen.process(&chunk);
            }
        };
        let after = modes(&self.tty);
        // With the last user of the terminal gone, its output has an end.
        self.slave = None;
        while let Ok(chunk) = self.output.recv() {
            self.screen.process(&chunk);
        }
        assert_eq!(status.exit_code(), code, "{}", self.screen.screen().contents());
        self.assert_restored(&after);
        self.screen.screen().contents()
    }

    pub fn assert_restored(&self, after: &Termios) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the screen from before is back");
        assert!(!screen.hide_cursor(), "the cursor is back");
        assert!(!screen.bracketed_paste(), "a paste is keys again");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is free");
        assert!(screen.contents().starts_with(BEFORE), "{}", screen.contents());
        let before = &self.modes_before;
        assert_eq!(before.input_modes, after.input_modes);
        assert_eq!(before.output_modes, after.output_modes);
        assert_eq!(before.local_modes, after.local_modes);
        assert_eq!(before.control_modes, after.control_modes);
    }
}

pub fn tusktop() -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
    command.args(["--no-php", "--interval", "200ms"]);
    command
}

pub fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

pub fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("at least one cell")
}

pub fn modes(tty: &PathBuf) -> Termios {
    tcgetattr(File::open(tty).expect("the terminal can be opened")).expect("it has modes")
}
