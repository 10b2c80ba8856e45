/** Long runs: `npm run test:soak` sets it; ordinary runs do the same with fewer repetitions. */
export const soak = process.env['SOAK'] === '1';
