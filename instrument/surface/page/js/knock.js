// A page whose connection ended asks whether it is still known: where the instrument wants a PIN, its place is at the door.

export async function knock() {
  try {
    const answer = await fetch("/api/status", { cache: "no-store" });
    if (answer.status === 401) location.assign("/pin");
  } catch {
    // nobody is there; the connection tries again by itself
  }
}
