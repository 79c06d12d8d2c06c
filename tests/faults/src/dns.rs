//! A look-up of a name, at a server of names that does not answer.

use std::net::{Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::channel;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[("dns-lookup", || {
    if cfg!(not(target_env = "gnu")) {
        return Err("the server of names is set by glibc's ways");
    }
    let hosts = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let hosts = hosts.lines().find(|line| line.starts_with("hosts:")).unwrap_or("dns").to_owned();
    if !hosts.contains("dns") || hosts.contains("resolve") {
        return Err("this system's names come from elsewhere than DNS");
    }
    let (port, answer) = slow_server();
    Ok(Scene::new(move || dns_lookup(port), answer))
})];

#[inline(never)]
fn dns_lookup(port: u16) {
    ask_at(port);
    let addresses = here!("slow.test.:80".to_socket_addrs());
    assert!(addresses.is_err(), "there is no such name");
}

/// Says to all questions, once told to, that there is no such name.
fn slow_server() -> (u16, impl FnOnce()) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let (release, released) = channel::<()>();
    std::thread::spawn(move || {
        assert!(released.recv().is_err(), "dropped in the end");
        let mut message = [0; 512];
        while let Ok((length, whose)) = socket.recv_from(&mut message) {
            // An answer, and the code for that.
            message[2] |= 0x80;
            message[3] = 3;
            socket.send_to(&message[..length], whose).expect("sent");
        }
    });
    (port, || drop(release))
}

#[cfg(not(target_env = "gnu"))]
fn ask_at(_: u16) {}

/// The begin of `struct __res_state`: what glibc asks, for this thread.
#[cfg(target_env = "gnu")]
#[repr(C)]
struct Resolver {
    seconds: libc::c_int,
    tries: libc::c_int,
    options: libc::c_ulong,
    servers: libc::c_int,
    server: [libc::sockaddr_in; 3],
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn __res_init() -> libc::c_int;
    fn __res_state() -> *mut Resolver;
}

/// The calling thread asks the server of names at this port from now on.
#[cfg(target_env = "gnu")]
fn ask_at(port: u16) {
    // SAFETY: they have no conditions. The state is this thread's own and begins with these fields
    // in every version of glibc, which is meant to be written to.
    unsafe {
        assert_eq!(__res_init(), 0);
        let resolver = &mut *__res_state();
        resolver.seconds = 60;
        resolver.tries = 1;
        resolver.servers = 1;
        resolver.server[0].sin_family = libc::AF_INET as libc::sa_family_t;
        resolver.server[0].sin_port = port.to_be();
        resolver.server[0].sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    }
}
