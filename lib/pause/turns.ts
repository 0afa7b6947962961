/** @internal Pieces of work, one after the other, whether those before failed or not. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn;
    return turn;
  }

  /** Resolves when all that was taken until now is done. */
  async done(): Promise<void> {
    await this.#last.catch(() => {});
  }
}
