//! Each of std's calls that the preset disallows, once; `main.rs` has clippy look at it.
#![allow(unused_must_use)]

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Result, Stdin};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub async fn sleeps(time: Duration) {
    thread::sleep(time);
    thread::park();
    thread::park_timeout(time);
}

pub async fn threads(thread: JoinHandle<()>) {
    thread.join();
    thread::scope(|_| ());
}

pub async fn conditions(barrier: &Barrier, condition: &Condvar, time: Duration) {
    let lock = Mutex::new(false);
    let guard = || -> MutexGuard<'_, bool> { lock.lock().unwrap() };
    barrier.wait();
    condition.wait(guard());
    condition.wait_while(guard(), |done| !*done);
    condition.wait_timeout(guard(), time);
    condition.wait_timeout_while(guard(), time, |done| !*done);
}

pub async fn channels(sender: SyncSender<u8>, receiver: Receiver<u8>, time: Duration) {
    sender.send(7);
    receiver.recv();
    receiver.recv_timeout(time);
    receiver.iter();
}

pub async fn files(path: &Path, rights: Permissions) -> Result<()> {
    fs::canonicalize(path)?;
    fs::copy(path, path)?;
    fs::create_dir(path)?;
    fs::create_dir_all(path)?;
    fs::exists(path)?;
    fs::hard_link(path, path)?;
    fs::metadata(path)?;
    fs::read(path)?;
    fs::read_dir(path)?;
    fs::read_link(path)?;
    fs::read_to_string(path)?;
    fs::remove_dir(path)?;
    fs::remove_dir_all(path)?;
    fs::remove_file(path)?;
    fs::rename(path, path)?;
    fs::set_permissions(path, rights)?;
    fs::symlink_metadata(path)?;
    fs::write(path, "")?;
    File::create(path)?;
    File::create_new(path)?;
    let file = File::open(path)?;
    file.sync_all()?;
    file.sync_data()?;
    OpenOptions::new().open(path)?;
    DirBuilder::new().create(path)
}

pub async fn paths(path: &Path) -> Result<()> {
    path.canonicalize()?;
    path.exists();
    path.is_dir();
    path.is_file();
    path.metadata()?;
    path.read_dir()?;
    path.read_link()?;
    path.symlink_metadata()?;
    path.try_exists()?;
    Ok(())
}

pub async fn network(address: SocketAddr, time: Duration) -> Result<()> {
    TcpStream::connect(address)?;
    TcpStream::connect_timeout(&address, time)?;
    let listener = TcpListener::bind(address)?;
    listener.accept()?;
    listener.incoming();
    "host:80".to_socket_addrs()?;
    let socket = UdpSocket::bind(address)?;
    socket.connect(address)?;
    socket.recv(&mut [])?;
    socket.recv_from(&mut [])?;
    socket.send(&[])?;
    socket.send_to(&[], address)?;
    Ok(())
}

pub async fn processes(mut command: Command, mut child: Child) -> Result<()> {
    command.output()?;
    command.status()?;
    child.wait()?;
    child.wait_with_output()?;
    Ok(())
}

pub async fn streams(input: Stdin, mut line: String) -> Result<()> {
    input.read_line(&mut line)?;
    input.lock();
    io::read_to_string(io::empty())?;
    input.lines();
    Ok(())
}

pub async fn holds_a_lock(lock: &Mutex<u8>) -> u8 {
    let guard = lock.lock().unwrap();
    std::future::ready(()).await;
    *guard
}

pub async fn holds_a_borrow(cell: &RefCell<u8>) -> u8 {
    let borrow = cell.borrow_mut();
    std::future::ready(()).await;
    *borrow
}
