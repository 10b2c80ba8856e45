/** Something to wait for that happens again and again. */
export class Gate {
  #waiting: (() => void)[] = [];

  /** Lets all pass that wait now. */
  open(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const pass of waiting) pass();
  }

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
