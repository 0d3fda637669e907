"""Quality measures: PSNR, SSIM, and measures without a reference. Numpy only."""
